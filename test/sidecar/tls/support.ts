/** A mesh of certificates on disk, and peers that speak TLS by hand: right, wrong and hostile ones. */
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer as createPlainServer, type Server } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type ConnectionOptions, connect, createServer, type TLSSocket, type TlsOptions } from "node:tls";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { pemOf } from "../../../src/identity/pem.ts";
import { DAY, HOUR, intermediate, leaf, type Made, root, type Spec, TRUST_DOMAIN } from "../../identity/support.ts";
import { temporaryFolder } from "../../support/processes.ts";

export interface CertificateFolder {
	readonly folder: string;
	readonly root: Made;
	readonly intermediate: Made;
	/** Issued now, for a day, unless `spec` says otherwise. */
	issue(service: string, spec?: Spec): Promise<Made>;
	/** As `identity` of a policy; writes certificate, chain, key and roots into files. */
	identityOf(service: string, made: Made): string;
	pemOf(made: Made): { readonly cert: string; readonly key: string; readonly ca: string };
}

export async function certificateFolder(t: TestContext): Promise<CertificateFolder> {
	const folder = temporaryFolder(t, "mtls");
	const now = Date.now();
	const top = await root({ name: "CN=root", fromMs: now - DAY, untilMs: now + 100 * DAY });
	const middle = await intermediate(top, { name: "CN=intermediate", pathLength: 0, fromMs: now - DAY, untilMs: now + 50 * DAY });
	const pem = (made: Made): { cert: string; key: string; ca: string } => ({
		cert: pemOf(made.der, "CERTIFICATE") + pemOf(middle.der, "CERTIFICATE"),
		key: privateKeyPem(made.key),
		ca: pemOf(top.der, "CERTIFICATE"),
	});
	return {
		folder,
		root: top,
		intermediate: middle,
		issue: (service, spec = {}) =>
			leaf(middle, {
				name: `CN=${service}`,
				uris: [`spiffe://${TRUST_DOMAIN}/${service}`],
				dns: [service],
				fromMs: now - HOUR,
				untilMs: now + DAY,
				...spec,
			}),
		identityOf(service, made) {
			const { cert, key, ca } = pem(made);
			const path = (ending: string): string => join(folder, `${service}.${ending}`);
			writeFileSync(path("pem"), cert);
			writeFileSync(path("key"), key, { mode: 0o600 });
			writeFileSync(path("ca.pem"), ca);
			return `identity: { files: { cert: ${path("pem")}, key: ${path("key")}, ca: ${path("ca.pem")} } }\n`;
		},
		pemOf: pem,
	};
}

/** A server of its own certificate, which answers each request alike. Closed at the end of the test. */
export async function tlsServer(t: TestContext, options: TlsOptions): Promise<number> {
	const server = createServer({ ALPNProtocols: ["http/1.1"], minVersion: "TLSv1.3", ...options }, (socket) => {
		socket.on("error", () => {});
		socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
	});
	server.on("tlsClientError", () => {});
	return listening(t, server);
}

/** What is no TLS at all: `answer` to whatever comes, or silence. */
export async function plainServer(t: TestContext, answer: string | undefined): Promise<number> {
	const sockets = new Set<{ destroy(): void }>();
	const server = createPlainServer((socket) => {
		sockets.add(socket);
		socket.on("error", () => {});
		socket.on("data", () => void (answer === undefined || socket.end(answer, "latin1")));
	});
	t.after(() => {
		for (const socket of sockets) socket.destroy();
	});
	return listening(t, server);
}

async function listening(t: TestContext, server: Server): Promise<number> {
	t.after(() => void server.close());
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return (server.address() as AddressInfo).port;
}

export interface CallerOutcome {
	/** All that came, latin1. */
	readonly text: string;
	readonly error: string;
	readonly resumed: boolean;
	readonly session: Buffer | undefined;
}

/** A caller by hand: shakes hands, sends `request`, reads until the other side closes or `until` has come. */
export function call(t: TestContext, port: number, options: ConnectionOptions, request: string, until?: RegExp): Promise<CallerOutcome> {
	return new Promise((resolve) => {
		const socket: TLSSocket = connect({
			host: "127.0.0.1",
			port,
			rejectUnauthorized: false,
			ALPNProtocols: ["http/1.1"],
			checkServerIdentity: () => undefined,
			...options,
		});
		t.after(() => void socket.destroy());
		let text = "";
		let error = "";
		let session: Buffer | undefined;
		const done = (): void => resolve({ text, error, resumed: socket.isSessionReused(), session });
		socket.on("session", (state: Buffer) => {
			session = state;
		});
		socket.on("secureConnect", () => void socket.write(request));
		socket.on("data", (bytes: Buffer) => {
			text += bytes.toString("latin1");
			if (until?.test(text) === true) socket.end();
		});
		socket.on("error", (thrown) => {
			error = thrown.message;
		});
		socket.on("close", done);
	});
}
