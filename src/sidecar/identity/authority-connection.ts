/** Requests to Nexus over TLS: JSON out, a status and JSON back, within bounds of time and size, or a fault in words. Knows no path. */
import type { Client } from "undici";
import type { Clock } from "../../core/clock.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { ChainVerdict, VerifiedPeer } from "../../identity/verify-chain.ts";
import type { SecureContexts } from "../../net/secure-contexts.ts";
import { TlsConnectError, tlsConnector, tlsFailureIn } from "../../net/tls-connector.ts";
import type { ShownPeer } from "../../net/tls-peer.ts";
import type { IdentityFault } from "./identity-source.ts";

const CONNECT_TIMEOUT_MS = 10_000;
/** A bundle with the longest deny lists, 10,000 serials and as many identities of the usual length, is 2 MB. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
/** Nexus may ask for patience; more than this would be a mistake. */
const RETRY_AFTER_MS_MAX = 60_000;
/** Of what others say, for logs. */
const WORDS_LENGTH_MAX = 300;

export interface AuthorityConnectionOptions {
	/** Base URL of Nexus, `https:`. */
	readonly url: string;
	readonly clock: Clock;
	/** What is shown to Nexus. */
	readonly contexts: SecureContexts;
	readonly verify: (shown: ShownPeer) => ChainVerdict;
}

export interface AuthorityRequest {
	readonly method: "GET" | "POST";
	/** Below the base URL. */
	readonly path: string;
	/** Of `Bearer`; a secret. */
	readonly token?: string;
	readonly body?: unknown;
	/** For all of it, from name to the end of the answer. */
	readonly timeoutMs: number;
	readonly signal: AbortSignal;
}

export interface AuthorityResponse {
	readonly ok: true;
	readonly status: number;
	/** Undefined where there is no JSON. */
	readonly body: unknown;
	/** Of a problem document, for people; "" where there is none. */
	readonly detail: string;
	readonly reason: string;
	readonly retryAfterMs: number | undefined;
}

export type AuthorityOutcome = AuthorityResponse | { readonly ok: false; readonly fault: IdentityFault };

export class AuthorityConnection {
	readonly #options: AuthorityConnectionOptions;
	readonly #base: URL;
	#client: Promise<Client> | undefined;
	#peer: VerifiedPeer | undefined;
	#closed = false;

	/** Throws where the URL is none, or not of https. Connects with the first request. */
	constructor(options: AuthorityConnectionOptions) {
		this.#options = options;
		this.#base = new URL(options.url);
		if (this.#base.protocol !== "https:") throw new TypeError(`not an https: URL: ${options.url}`);
	}

	/** Who answered last. */
	get peer(): VerifiedPeer | undefined {
		return this.#peer;
	}

	/** One after the other. Never rejects; an aborted `signal` is a fault like any other. */
	async request({ method, path, token, body, timeoutMs, signal }: AuthorityRequest): Promise<AuthorityOutcome> {
		const cut = new AbortController();
		const onAbort = (): void => cut.abort(new Error("cut"));
		const timer = this.#options.clock.setTimer(timeoutMs, () => cut.abort(new Error(`no answer within ${timeoutMs} ms`)));
		signal.addEventListener("abort", onAbort);
		try {
			signal.throwIfAborted();
			this.#client ??= this.#open();
			const client = await this.#client;
			const answer = await client.request({
				method,
				path: `${this.#base.pathname.replace(/\/$/, "")}${path}`,
				headers: {
					"user-agent": "nexus-sidecar",
					accept: "application/json",
					...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
					...(body === undefined ? {} : { "content-type": "application/json" }),
				},
				body: body === undefined ? null : JSON.stringify(body),
				signal: cut.signal,
			});
			return responseOf(answer.statusCode, answer.headers["retry-after"], await answer.body.text());
		} catch (thrown) {
			return { ok: false, fault: faultOf(thrown, this.#base.origin) };
		} finally {
			timer.cancel();
			signal.removeEventListener("abort", onAbort);
		}
	}

	/** Cuts what is under way. Idempotent. */
	async close(): Promise<void> {
		this.#closed = true;
		await (await this.#client)?.destroy();
	}

	/** Loaded with the first request: undici costs 62 ms and 25 MB. */
	async #open(): Promise<Client> {
		const { Client } = await import("undici");
		const { clock, contexts, verify } = this.#options;
		const { hostname } = this.#base;
		const connect = tlsConnector<VerifiedPeer>({
			serverName: hostname.startsWith("[") ? "" : hostname,
			checkHostName: false,
			contexts,
			timeoutMs: CONNECT_TIMEOUT_MS,
			clock,
			verify,
			onReady: (_socket, peer) => {
				this.#peer = peer;
			},
		});
		// Its own timers are off, `timeoutMs` bounds everything.
		const client = new Client(this.#base.origin, { connect, maxResponseSize: ANSWER_BYTES_MAX, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
		if (this.#closed) await client.destroy();
		return client;
	}
}

function responseOf(status: number, retryAfter: string | string[] | undefined, text: string): AuthorityOutcome {
	const body = jsonOf(text);
	const { detail, reason } = (typeof body === "object" && body !== null ? body : {}) as { detail?: unknown; reason?: unknown };
	const seconds = typeof retryAfter === "string" && /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) : undefined;
	return {
		ok: true,
		status,
		body,
		detail: typeof detail === "string" ? shown(detail) : "",
		reason: typeof reason === "string" ? shown(reason) : "",
		retryAfterMs: seconds === undefined ? undefined : Math.min(seconds * 1000, RETRY_AFTER_MS_MAX),
	};
}

function faultOf(thrown: unknown, origin: string): IdentityFault {
	const failure = tlsFailureIn(thrown);
	const who = `Nexus at ${origin}`;
	if (failure !== undefined) {
		// What we find wrong with the peer carries a hint; what merely broke has none.
		const isVerdict = thrown instanceof TlsConnectError && "hint" in failure;
		if (isVerdict) return { reason: "authority_untrusted", words: `${who} is not to be trusted: ${failure.words} (${failure.reason})` };
		if (failure.reason === "tls_on_plaintext_port") {
			return { reason: "authority_unavailable", words: `${who} does not speak TLS: it has no \`authority\`, or something else answers there` };
		}
		const refused = failure.reason === "tls_refused_by_peer" || failure.reason === "tls_no_client_cert";
		return { reason: refused ? "authority_refused" : "authority_unreachable", words: `no TLS with ${who}: ${failure.words} (${failure.reason})` };
	}
	const code = codeOf(thrown);
	if (code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") {
		return { reason: "bad_answer", words: `the answer of ${who} has more than ${ANSWER_BYTES_MAX} bytes` };
	}
	if (thrown instanceof Error && thrown.name === "HTTPParserError") {
		return { reason: "bad_answer", words: `${who} does not answer in HTTP: ${shown(thrown.message)}` };
	}
	return { reason: "authority_unreachable", words: `${who} cannot be reached: ${shown(messageOf(thrown))}` };
}

function jsonOf(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (thrown) {
		if (thrown instanceof SyntaxError) return undefined;
		throw thrown;
	}
}

function shown(text: string): string {
	return text.slice(0, WORDS_LENGTH_MAX).replace(/[^\x20-\x7e]/g, "?");
}
