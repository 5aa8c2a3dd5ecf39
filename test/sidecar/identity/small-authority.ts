/** An authority as sidecars meet it, in one file: real TLS, real certificates, the calls of a sidecar alone; it can be told to misbehave. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { readCertificate } from "../../../src/identity/certificate.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { issueCertificate } from "../../../src/identity/issue.ts";
import { createJoinToken, type JoinToken, readJoinToken } from "../../../src/identity/join-token.ts";
import { chainPem } from "../../../src/identity/keyed-chain.ts";
import { rootsPem, type TrustBundleDocument } from "../../../src/identity/trust-bundle.ts";
import { HOUR, idOf, issueFor, type TestAuthority, TRUST_DOMAIN } from "./support.ts";

export interface Asked {
	readonly path: string;
	/** SPIFFE ID of the certificate that was shown; "" for none. */
	readonly by: string;
	readonly serial: string;
	readonly token: string;
}

export class SmallAuthority {
	authority: TestAuthority;
	lifetimeMs = HOUR;
	now: () => number = Date.now;
	/** Takes a request out of the ordinary. */
	misbehave: ((req: IncomingMessage, res: ServerResponse) => boolean) | undefined;
	readonly asked: Asked[] = [];
	readonly issued: string[] = [];
	bundle: TrustBundleDocument;
	#server: Server | undefined;
	readonly #sockets = new Set<Socket>();
	#port = 0;
	readonly #uses = new Map<string, { readonly hash: string; left: number }>();
	readonly #polls = new Set<() => void>();
	/** Whom it shows itself as. */
	#name = "nexus";

	constructor(authority: TestAuthority) {
		this.authority = authority;
		this.bundle = { version: 1, trustDomains: { [TRUST_DOMAIN]: rootsPem([authority.root.certificate]) } };
	}

	static async start(t: TestContext, authority: TestAuthority, name = "nexus"): Promise<SmallAuthority> {
		const small = new SmallAuthority(authority);
		small.#name = name;
		await small.listen();
		t.after(() => small.stop());
		return small;
	}

	/** That are open now. */
	get connections(): number {
		return this.#sockets.size;
	}

	get url(): string {
		return `https://127.0.0.1:${this.#port}`;
	}

	/** Another authority issues from now on, also for itself. */
	async issueBy(authority: TestAuthority): Promise<void> {
		this.authority = authority;
		this.#server?.setSecureContext(await this.#own());
	}

	async #own(): Promise<{ cert: string; key: string; requestCert: true; rejectUnauthorized: false; minVersion: "TLSv1.3" }> {
		const own = await issueFor(this.#name, this.authority, { nowMs: this.now(), lifetimeMs: 24 * HOUR });
		const cert = chainPem([...own.chain, this.authority.root.certificate]);
		return { cert, key: privateKeyPem(own.key), requestCert: true, rejectUnauthorized: false, minVersion: "TLSv1.3" };
	}

	/** Begins, or comes back on the same port, with a certificate of the authority that issues now. */
	async listen(): Promise<void> {
		const server = createServer(await this.#own());
		server.on("connection", (socket: Socket) => {
			this.#sockets.add(socket);
			socket.on("close", () => this.#sockets.delete(socket));
		});
		server.on("request", (req, res) => void this.#answer(req, res));
		await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
		this.#server = server;
		this.#port = (server.address() as AddressInfo).port;
	}

	async stop(): Promise<void> {
		const server = this.#server;
		this.#server = undefined;
		// Also those whose handshake is under way, of which HTTP knows nothing.
		for (const socket of this.#sockets) socket.destroy();
		await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
	}

	createToken(service: string, uses = 1): JoinToken {
		const token = createJoinToken({ service, root: this.authority.root.certificate.fingerprint });
		this.#uses.set(token.id, { hash: token.secretHash(), left: uses });
		return token;
	}

	/** The next version of the bundle, told to all who wait. */
	change(members: Partial<TrustBundleDocument>): void {
		this.bundle = { ...this.bundle, ...members, version: members.version ?? this.bundle.version + 1 };
		for (const poll of [...this.#polls]) poll();
	}

	async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
		const shown = (req.socket as TLSSocket).getPeerX509Certificate();
		const reading = shown === undefined ? undefined : readCertificate(shown.raw);
		const certificate = reading?.ok === true ? reading.certificate : undefined;
		const by = certificate?.names.uris[0] ?? "";
		const token = req.headers.authorization?.replace(/^Bearer /, "") ?? "";
		const url = new URL(req.url ?? "", this.url);
		this.asked.push({ path: req.url ?? "", by, serial: certificate?.serial ?? "", token });
		if (this.misbehave?.(req, res) === true) return;
		if (url.pathname === "/v1/trust-bundle") this.#poll(Number(url.searchParams.get("after")), by, res);
		else await this.#issue(await bodyOf(req), by, token, res);
	}

	#poll(after: number, by: string, res: ServerResponse): void {
		if (by === "") {
			problem(res, 401, "unauthenticated", "neither a certificate nor a token");
			return;
		}
		const answer = (): void => {
			if (this.bundle.version <= after) return;
			this.#polls.delete(answer);
			json(res, 200, { bundle: this.bundle, issuer: this.authority.issuing.certificate.fingerprint });
		};
		this.#polls.add(answer);
		res.on("close", () => this.#polls.delete(answer));
		answer();
	}

	async #issue(body: string, by: string, text: string, res: ServerResponse): Promise<void> {
		const token = text === "" ? undefined : readJoinToken(text);
		if (token?.ok === false) return problem(res, 401, "unauthenticated", token.fault);
		const uses = token === undefined ? undefined : this.#uses.get(token.token.id);
		if (token !== undefined && uses?.hash !== token.token.secretHash()) return problem(res, 401, "unauthenticated", "no such token");
		if (uses?.left === 0) return problem(res, 401, "unauthenticated", "the token is used up");
		const uri = token === undefined ? by : idOf(token.token.service).uri;
		if (uri === "") return problem(res, 401, "unauthenticated", "neither a certificate nor a token");
		const id = idOf(uri.slice(`spiffe://${TRUST_DOMAIN}/`.length));
		const request = Buffer.from((JSON.parse(body) as { request: string }).request, "base64");
		const { issuing } = this.authority;
		const issued = await issueCertificate(issuing, { request, id, dnsNames: [], lifetimeMs: this.lifetimeMs, nowMs: this.now() });
		if (!issued.ok) return problem(res, 403, "unauthorized", issued.words);
		if (uses !== undefined) uses.left--;
		assert.ok(issued.chain[0]);
		this.issued.push(issued.chain[0].serial);
		json(res, 201, { certificate: chainPem(issued.chain), bundle: this.bundle });
	}
}

async function bodyOf(req: IncomingMessage): Promise<string> {
	let text = "";
	for await (const chunk of req) text += String(chunk);
	return text;
}

export function json(res: ServerResponse, status: number, body: unknown): void {
	res.writeHead(status, { "content-type": "application/json" });
	res.end(JSON.stringify(body));
}

function problem(res: ServerResponse, status: number, reason: string, detail: string): void {
	json(res, status, { status, reason, detail });
}
