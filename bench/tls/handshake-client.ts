/**
 * A program: connections with mutual TLS, one request each, as many as go through in a given time. Argument: JSON of `HandshakeRequest`; prints
 * `HandshakeResult`.
 */
import { readFileSync } from "node:fs";
import { connect, createSecureContext, type TLSSocket } from "node:tls";
import { messageOf } from "../../src/core/errors.ts";

export interface HandshakeRequest {
	readonly port: number;
	readonly cert: string;
	readonly key: string;
	readonly ca: string;
	readonly serverName: string;
	readonly path: string;
	readonly host: string;
	readonly seconds: number;
	/** At a time. */
	readonly clients: number;
	/** Whether sessions are resumed. */
	readonly resume: boolean;
}

export interface HandshakeResult {
	readonly done: number;
	/** Of these, on an earlier session. */
	readonly resumed: number;
	readonly seconds: number;
	readonly faults: readonly string[];
}

const FAULTS_MAX = 20;

const request = JSON.parse(process.argv[2] ?? "") as HandshakeRequest;
const { port, serverName, path, host, clients, resume } = request;
const secureContext = createSecureContext({
	cert: readFileSync(request.cert),
	key: readFileSync(request.key),
	ca: readFileSync(request.ca),
	minVersion: "TLSv1.3",
});
const head = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`;
const startedMs = performance.now();
const untilMs = startedMs + request.seconds * 1000;
const faults = new Set<string>();
let done = 0;
let resumed = 0;
await Promise.all(Array.from({ length: clients }, run));
const result: HandshakeResult = { done, resumed, seconds: (performance.now() - startedMs) / 1000, faults: [...faults] };
process.stdout.write(`${JSON.stringify(result)}\n`);

async function run(): Promise<void> {
	let session: Buffer | undefined;
	while (performance.now() < untilMs && faults.size < FAULTS_MAX) {
		try {
			const made = await once(resume ? session : undefined);
			session = made.session ?? session;
			done++;
			if (made.resumed) resumed++;
		} catch (thrown) {
			faults.add(messageOf(thrown));
		}
	}
}

function once(session: Buffer | undefined): Promise<{ session: Buffer | undefined; resumed: boolean }> {
	return new Promise((resolve, reject) => {
		const socket: TLSSocket = connect({
			host: "127.0.0.1",
			port,
			servername: serverName,
			secureContext,
			ALPNProtocols: ["http/1.1"],
			...(session === undefined ? {} : { session }),
		});
		let offered: Buffer | undefined;
		let text = "";
		socket.on("session", (state: Buffer) => {
			offered = state;
		});
		let reused = false;
		socket.on("secureConnect", () => {
			reused = socket.isSessionReused();
			socket.write(head);
		});
		socket.on("data", (part: Buffer) => {
			text += part.toString("latin1");
		});
		socket.on("error", reject);
		socket.on("close", () => {
			if (text.startsWith("HTTP/1.1 200")) resolve({ session: offered, resumed: reused });
			else reject(new Error(text === "" ? "closed without an answer" : text.slice(0, 60)));
		});
	});
}
