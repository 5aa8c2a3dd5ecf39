/** The API of Nexus as commands call it: where it is, who calls, and whom to believe that it is Nexus. */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { errorOf, NexusError as NexusRefusal } from "../client/nexus-error.ts";
import type { SocketTarget, Transport, TransportRequest } from "../client/transport.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { readRoots, trustDomainOf } from "../identity/authority-dir.ts";
import { type Certificate, readCertificate } from "../identity/certificate.ts";
import { pemOf } from "../identity/pem.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";

export interface NexusFlags {
	readonly url: string;
	/** A file with a token, in place of the variable NEXUS_TOKEN. */
	readonly tokenFile?: string;
	/** Roots of the mesh, PEM. */
	readonly ca?: string;
}

export interface ApiRequest {
	readonly method?: "GET" | "POST" | "PUT" | "DELETE";
	/** Sent as JSON. */
	readonly body?: unknown;
	readonly headers?: Readonly<Record<string, string>>;
	readonly signal?: AbortSignal;
}

export { NexusError as NexusRefusal } from "../client/nexus-error.ts";

type Fetch = (url: URL, init: RequestInit) => Promise<Response>;

const TIMEOUT_MS = 10_000;
const NEXUS_SERVICE = "nexus";
/** A token as RFC 6750 2.1 lets it be written. */
const TOKEN = /^[A-Za-z0-9._~+/=-]{1,8192}$/;

/** A string says what is wrong with the flags; it never quotes the token. */
export async function openNexusApi(flags: NexusFlags, env: NodeJS.ProcessEnv = process.env): Promise<NexusApi | string> {
	const base = URL.parse(flags.url);
	if (base === null || !/^https?:$/.test(base.protocol)) return `--url ${flags.url} is not an http URL, as in http://127.0.0.1:7400`;
	const token = await tokenOf(flags.tokenFile, env.NEXUS_TOKEN);
	if (token !== undefined && "fault" in token) return token.fault;
	if (token !== undefined && base.protocol === "http:" && !isLocal(base.hostname)) {
		return `a token in plain text to ${base.host} could be read on its way: use https:// with --ca`;
	}
	if (flags.ca === undefined) return new NexusApi(base, token?.text, undefined);
	if (base.protocol === "http:") return `--ca is for https://, and the URL is ${base.origin}`;
	const roots = await rootsOf(flags.ca);
	return typeof roots === "string" ? roots : new NexusApi(base, token?.text, roots);
}

export class NexusApi implements Transport {
	readonly base: URL;
	readonly #token: string | undefined;
	/** Undefined: those of the system. */
	#roots: readonly Certificate[] | undefined;
	#fetch: Promise<Fetch> | undefined;

	constructor(base: URL, token: string | undefined, roots: readonly Certificate[] | undefined) {
		this.base = base;
		this.#token = token;
		this.#roots = roots;
	}

	/** Believes these as well from the next connection on: a root that is to follow, told by Nexus itself. PEM. */
	trust(pem: string): void {
		const further = readRoots(pem);
		if (this.#roots === undefined || typeof further === "string") return;
		const known = new Set(this.#roots.map(({ fingerprint }) => fingerprint));
		const unknown = further.filter(({ fingerprint }) => !known.has(fingerprint));
		if (unknown.length === 0) return;
		this.#roots = [...this.#roots, ...unknown];
		this.#fetch = undefined;
	}

	/** Any answer. Rejects with a NexusRefusal of status 0 where nobody answers, or as `signal` is aborted. */
	async send(path: string, { headers = {}, ...init }: TransportRequest = {}): Promise<Response> {
		try {
			this.#fetch ??= this.#connect();
			return await (await this.#fetch)(new URL(path, this.base), { ...init, headers: { ...headers, ...this.#authorization } } as RequestInit);
		} catch (thrown) {
			if (init.signal?.aborted === true) throw thrown;
			throw new NexusRefusal(unreachable(this.base, thrown), 0, "");
		}
	}

	socketTarget(path: string): SocketTarget {
		const url = new URL(path, this.base).href.replace(/^http/, "ws");
		return { url, headers: this.#authorization, tls: this.#roots === undefined ? {} : tlsOf(this.#roots) };
	}

	/** Any answer with a status below 300. Rejects with a NexusRefusal, or as `signal` is aborted. */
	async request(path: string, { method = "GET", body, headers = {}, signal }: ApiRequest = {}): Promise<Response> {
		const response = await this.send(path, {
			method,
			headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
			...(signal === undefined ? {} : { signal }),
		});
		if (response.ok) return response;
		throw await errorOf(response);
	}

	/** The JSON of an answer that comes at once; undefined where there is none. */
	async json<T>(path: string, request: ApiRequest = {}): Promise<T> {
		const response = await this.request(path, { ...request, signal: request.signal ?? AbortSignal.timeout(TIMEOUT_MS) });
		const text = await response.text();
		return (text === "" ? undefined : JSON.parse(text)) as T;
	}

	get #authorization(): Readonly<Record<string, string>> {
		return this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
	}

	async #connect(): Promise<Fetch> {
		const roots = this.#roots;
		if (roots === undefined) return fetch as Fetch;
		// Loaded for TLS with roots of our own alone: it takes 60 ms.
		const { Agent, fetch: undiciFetch } = await import("undici");
		const dispatcher = new Agent({ connect: tlsOf(roots) });
		return ((url: URL, init: RequestInit) => undiciFetch(url, { ...init, dispatcher } as never)) as unknown as Fetch;
	}
}

function tlsOf(roots: readonly Certificate[]) {
	const ca = roots.map(({ der }) => pemOf(der, "CERTIFICATE")).join("");
	const domains = new Set(roots.map((root) => trustDomainOf(root)));
	return {
		ca,
		checkServerIdentity: (host: string, certificate: PeerCertificate): Error | undefined => {
			const fault = nexusFault(certificate.raw, domains);
			return fault === undefined ? undefined : fault === "no identity" ? checkServerIdentity(host, certificate) : new Error(fault);
		},
	};
}

/** In the mesh the identity counts, not the host name: Nexus is Nexus wherever it is reached. */
function nexusFault(der: Uint8Array, domains: ReadonlySet<string | undefined>): string | undefined {
	const reading = readCertificate(der);
	const uri = reading.ok ? reading.certificate.names.uris.find((each) => each.startsWith("spiffe://")) : undefined;
	if (uri === undefined) return "no identity";
	const id = parseSpiffeId(uri);
	if (id.ok && id.id.service === NEXUS_SERVICE && domains.has(id.id.trustDomain)) return undefined;
	return `${uri.slice(0, 200)} answers there, which is not Nexus`;
}

async function tokenOf(file: string | undefined, variable: string | undefined): Promise<{ text: string } | { fault: string } | undefined> {
	let text = variable ?? "";
	if (file !== undefined) {
		try {
			text = await readFile(file, "utf8");
		} catch (thrown) {
			return { fault: `--token-file cannot be read: ${messageOf(thrown)}` };
		}
	}
	text = text.trim();
	if (text === "" && file === undefined) return undefined;
	return TOKEN.test(text) ? { text } : { fault: `${file === undefined ? "NEXUS_TOKEN" : `--token-file ${file}`} holds no token` };
}

async function rootsOf(file: string): Promise<readonly Certificate[] | string> {
	try {
		const roots = readRoots(await readFile(file, "utf8"));
		return typeof roots === "string" ? `--ca ${file} cannot be used: ${roots}` : roots;
	} catch (thrown) {
		return `--ca cannot be read: ${messageOf(thrown)}`;
	}
}

function isLocal(hostname: string): boolean {
	const host = hostname.replace(/^\[|\]$/g, "");
	return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** What OpenSSL says of a chain that leads to no root that it knows. */
const UNKNOWN_AUTHORITY = new Set([
	"SELF_SIGNED_CERT_IN_CHAIN",
	"DEPTH_ZERO_SELF_SIGNED_CERT",
	"UNABLE_TO_GET_ISSUER_CERT",
	"UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
	"UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

function unreachable(base: URL, thrown: unknown): string {
	const cause = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
	const code = codeOf(cause) ?? "";
	if (UNKNOWN_AUTHORITY.has(code))
		return `what answers at ${base.origin} shows a certificate of an authority that is not trusted: is --ca its ca.pem?`;
	if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") return `${base.origin} does not speak TLS: use http://`;
	return `Nexus does not answer at ${base.origin}: ${messageOf(cause)}. Start it with \`nexus serve\`, or say where it is with --url`;
}
