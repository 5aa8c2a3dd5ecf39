/** One check of one endpoint: connects, perhaps asks, and says what it found in words for people. Knows no thresholds and no schedule. */
import { connect } from "node:net";
import type { Client } from "undici";
import type { Clock } from "../core/clock.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { TlsConnector } from "../net/tls-connector.ts";
import type { Address, HealthCheckPolicy } from "../policy/snapshot.ts";

export type ProbeResult = { readonly ok: true } | { readonly ok: false; readonly error: string };

export interface ProbeOptions extends Pick<HealthCheckPolicy, "kind" | "path" | "host" | "headers" | "statuses" | "timeoutMs"> {
	/** How an http check connects where the endpoint speaks TLS. A tcp check proves that something listens, and no more. */
	readonly connectorTo?: ((address: Address) => TlsConnector) | undefined;
}

// A health page says little; what is longer is cut off, and the status has the word.
const BODY_BYTES_MAX = 64 * 1024;
// Errors of servers and systems stand in logs and events.
const ERROR_CHARS_MAX = 200;

/** What the system's codes mean, as the end of a sentence about an endpoint. */
const CODES: Readonly<Record<string, string>> = {
	ECONNREFUSED: "connect refused",
	ECONNRESET: "connection reset",
	EPIPE: "connection reset",
	UND_ERR_SOCKET: "connection closed before the answer",
	EHOSTUNREACH: "host unreachable",
	ENETUNREACH: "network unreachable",
	ETIMEDOUT: "connect timed out",
	ENOTFOUND: "host name not found",
	EAI_AGAIN: "host name could not be resolved",
	EACCES: "permission denied",
	ENOENT: "no such socket",
	EMFILE: "out of file descriptors",
	UND_ERR_HEADERS_OVERFLOW: "answer head too large",
};

/**
 * Never rejects. `timeoutMs` spans the whole check, from name to the end of the body. An abort of `signal` frees everything at
 * once; the result then means nothing.
 */
export async function probe(address: Address, options: ProbeOptions, clock: Clock, signal: AbortSignal): Promise<ProbeResult> {
	const expiry = new AbortController();
	// Loading the client blocks the loop for longer than a timeout may be: that is not the endpoint's fault.
	if (options.kind === "http") await import("undici");
	const timer = clock.setTimer(options.timeoutMs, () => expiry.abort());
	try {
		const either = AbortSignal.any([signal, expiry.signal]);
		if (options.kind === "tcp") await probeTcp(address, either);
		else {
			const status = await probeHttp(address, options, either);
			if (!options.statuses.includes(status)) return { ok: false, error: `status ${status}, expected ${listOf(options.statuses)}` };
		}
		return { ok: true };
	} catch (thrown) {
		return { ok: false, error: expiry.signal.aborted ? `timeout after ${durationOf(options.timeoutMs)}` : wordsFor(thrown) };
	} finally {
		timer.cancel();
	}
}

function probeTcp(address: Address, signal: AbortSignal): Promise<void> {
	return new Promise((resolve, reject) => {
		const socket = address.kind === "unix" ? connect({ path: address.path }) : connect({ host: address.host, port: address.port });
		// Not the constructor's `signal`: on a connected socket it would be one more error to catch.
		const abort = () => socket.destroy(new Error("aborted"));
		signal.addEventListener("abort", abort, { once: true });
		socket.on("error", reject);
		socket.on("close", () => signal.removeEventListener("abort", abort));
		socket.on("connect", () => {
			resolve();
			socket.destroy();
		});
		if (signal.aborted) abort();
	});
}

/** The status of the answer, once its body has ended or is longer than anyone reads. Redirects are answers like others. */
async function probeHttp(address: Address, { path, host, headers, connectorTo }: ProbeOptions, signal: AbortSignal): Promise<number> {
	const client = await createClient(address, connectorTo?.(address));
	try {
		const fields: Record<string, string> = { "user-agent": "nexus-health-check", ...Object.fromEntries(headers) };
		if (host !== undefined) fields.host = host;
		// `reset` announces `connection: close`: a check proves that the endpoint still accepts connections.
		const { statusCode, body } = await client.request({ method: "GET", path, headers: fields, signal, reset: true });
		let bytes = 0;
		for await (const chunk of body) {
			bytes += (chunk as Buffer).length;
			if (bytes > BODY_BYTES_MAX) break;
		}
		return statusCode;
	} finally {
		await client.destroy();
	}
}

/** Undici comes with the first http check: it costs 62 ms and 25 MB, which a sidecar without such checks never spends. */
async function createClient(address: Address, connector: TlsConnector | undefined): Promise<Client> {
	const { Client } = await import("undici");
	// Its own timers are off, `timeoutMs` bounds everything.
	const options = { pipelining: 1, connectTimeout: 0, headersTimeout: 0, bodyTimeout: 0, allowH2: false };
	// It knows the way by itself; the name in the URL is what the Host field says.
	if (connector !== undefined)
		return new Client(`https://${address.kind === "unix" ? "localhost" : hostOf(address)}`, { ...options, connect: connector });
	if (address.kind === "unix") return new Client("http://localhost", { ...options, socketPath: address.path });
	return new Client(`http://${hostOf(address)}`, options);
}

function hostOf({ host, port }: Address & { kind: "tcp" }): string {
	return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function wordsFor(thrown: unknown): string {
	const malformed = thrown instanceof Error && thrown.name === "HTTPParserError";
	const words = malformed ? `not an HTTP/1.1 answer: ${thrown.message}` : (CODES[codeOf(thrown) ?? ""] ?? messageOf(thrown));
	return words.length > ERROR_CHARS_MAX ? `${words.slice(0, ERROR_CHARS_MAX)}...` : words;
}

/** `1 s`, `250 ms` */
function durationOf(ms: number): string {
	return ms >= 1000 && ms % 100 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}

function listOf(statuses: readonly number[]): string {
	return statuses.length === 1 ? `${statuses[0]}` : `one of ${statuses.join(", ")}`;
}
