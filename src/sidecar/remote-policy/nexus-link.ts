/** Requests to Nexus with the identity of this service: JSON out, a status and JSON back, within bounds of time and size. Tries nothing twice. */
import type { Pool } from "undici";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";

/** One waits for the policy, one for the lists of services, one renews the registration. */
const CONNECTIONS = 3;
/** The largest policy, as JSON, twice; or the lists of some thousand instances. */
const ANSWER_BYTES_MAX = 2 * 1024 * 1024;
/** Nexus may ask for patience; more than this would be a mistake. */
const RETRY_AFTER_MS_MAX = 60_000;
/** Of what others say, for logs. */
const WORDS_CHARS_MAX = 300;

export interface NexusLinkOptions {
	/** Base URL, `http:` or `https:`. */
	readonly url: string;
	readonly clock: Clock;
	/** Where this service has an identity, `https:` is mutual TLS of the mesh; undefined as a result: it has none yet. */
	readonly identity: (() => MeshIdentity | undefined) | undefined;
}

export interface LinkRequest {
	readonly method: "POST" | "PUT" | "DELETE";
	/** Below the base URL. */
	readonly path: string;
	readonly body?: unknown;
	/** For all of it. */
	readonly timeoutMs: number;
	readonly signal: AbortSignal;
}

export type LinkOutcome =
	/** `body` undefined: there is none, or no JSON. */
	| { readonly ok: true; readonly status: number; readonly body: unknown }
	/** Nobody there, or a status that is no success: in words. */
	| { readonly ok: false; readonly words: string; readonly retryAfterMs: number };

export class NexusLink {
	readonly #options: NexusLinkOptions;
	#url: URL;
	#pool: Promise<Pool> | undefined;
	/** Of the certificate that the pool shows. */
	#generation = -1;

	/** Throws where the URL is none. Connects with the first request. */
	constructor(options: NexusLinkOptions) {
		this.#options = options;
		this.#url = new URL(options.url);
	}

	setUrl(url: string): void {
		if (url === this.#url.href || url === this.#url.origin) return;
		this.#url = new URL(url);
		this.#retire();
	}

	/** Never rejects; an aborted `signal` is a failure like any other. */
	async request({ method, path, body, timeoutMs, signal }: LinkRequest): Promise<LinkOutcome> {
		const cut = new AbortController();
		const onAbort = (): void => cut.abort(new Error("cut"));
		const timer = this.#options.clock.setTimer(timeoutMs, () => cut.abort(new Error(`no answer within ${timeoutMs} ms`)));
		signal.addEventListener("abort", onAbort);
		try {
			signal.throwIfAborted();
			const pool = await this.#open();
			const answer = await pool.request({
				method,
				path: `${this.#url.pathname.replace(/\/$/, "")}${path}`,
				headers: {
					"user-agent": "nexus-sidecar",
					accept: "application/json",
					...(body === undefined ? {} : { "content-type": "application/json" }),
				},
				body: body === undefined ? null : JSON.stringify(body),
				signal: cut.signal,
			});
			return outcomeOf(answer.statusCode, answer.headers["retry-after"], await answer.body.text(), this.#url.origin);
		} catch (thrown) {
			return { ok: false, words: `Nexus at ${this.#url.origin} cannot be reached: ${shown(messageOf(thrown))}`, retryAfterMs: 0 };
		} finally {
			timer.cancel();
			signal.removeEventListener("abort", onAbort);
		}
	}

	/** Cuts what is under way. */
	async close(): Promise<void> {
		await (await this.#pool)?.destroy();
	}

	#open(): Promise<Pool> {
		const { identity: source } = this.#options;
		const identity = this.#url.protocol === "https:" ? source?.() : undefined;
		if (identity === undefined) {
			if (this.#url.protocol === "https:" && source !== undefined) throw new Error("this service has no identity yet");
			this.#pool ??= openPool(this.#url, undefined);
			return this.#pool;
		}
		const { generation } = identity.client;
		if (this.#pool !== undefined && generation === this.#generation) return this.#pool;
		this.#retire();
		this.#generation = generation;
		const onRetire = (): void => {
			this.#generation = -1;
		};
		this.#pool = openPool(this.#url, { identity, clock: this.#options.clock, onRetire });
		return this.#pool;
	}

	/** What is under way ends in good order, on connections that are not used again. */
	#retire(): void {
		void this.#pool?.then((pool) => pool.close());
		this.#pool = undefined;
	}
}

interface Mesh {
	readonly identity: MeshIdentity;
	readonly clock: Clock;
	readonly onRetire: () => void;
}

async function openPool({ origin, hostname }: URL, mesh: Mesh | undefined): Promise<Pool> {
	const options = { connections: CONNECTIONS, pipelining: 1, maxResponseSize: ANSWER_BYTES_MAX, headersTimeout: 0, bodyTimeout: 0 };
	const { Pool } = await import("undici");
	if (mesh === undefined) return new Pool(origin, options);
	const { nexusConnector } = await import("../identity/nexus-connector.ts");
	return new Pool(origin, { ...options, connect: nexusConnector(mesh.identity, hostname, mesh.clock, mesh.onRetire) });
}

function outcomeOf(status: number, retryAfter: string | string[] | undefined, text: string, origin: string): LinkOutcome {
	const body = jsonOf(text);
	if (status >= 200 && status < 300) return { ok: true, status, body };
	const { title, detail } = (typeof body === "object" && body !== null ? body : {}) as { title?: unknown; detail?: unknown };
	const said = [title, detail].filter((part) => typeof part === "string").join(" ");
	const seconds = typeof retryAfter === "string" && /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) : 0;
	const words = `Nexus at ${origin} answers with status ${status}${said === "" ? "" : `: ${shown(said)}`}`;
	return { ok: false, words, retryAfterMs: Math.min(seconds * 1000, RETRY_AFTER_MS_MAX) };
}

function jsonOf(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return undefined; // the caller says what that means
	}
}

function shown(text: string): string {
	return text.slice(0, WORDS_CHARS_MAX).replace(/[^\x20-\x7e]/g, "?");
}
