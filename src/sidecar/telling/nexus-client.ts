/** One POST of a batch of events to Nexus (DESIGN 7.6): JSON out, a verdict back. Knows no queue and tries nothing twice. */
import type { Client } from "undici";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { BATCH_TYPE } from "../../events/http-binding.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";

export type PostVerdict =
	/** Nexus has them for good, but for `rejected` ones that it will never take. */
	| { readonly kind: "delivered"; readonly rejected: number; readonly firstReason: string }
	/** It will not take this batch, however often it is sent. */
	| { readonly kind: "refused"; readonly status: number }
	| { readonly kind: "too_large" }
	/** It asks for patience. */
	| { readonly kind: "busy"; readonly retryAfterMs: number | undefined }
	/** Nobody knows whether it has them. */
	| { readonly kind: "failed"; readonly message: string; readonly retryAfterMs: number | undefined };

export interface NexusClientOptions {
	/** Base URL, `http:` or `https:`. A path is kept as a prefix. */
	readonly url: string;
	readonly clock: Clock;
	readonly timeoutMs?: number;
	/**
	 * Where this service has an identity: `https:` is mutual TLS of the mesh then. Undefined as a result: it has none yet. Without this,
	 * `https:` is ordinary TLS, with the roots of this machine.
	 */
	readonly identity?: (() => MeshIdentity | undefined) | undefined;
}

// Nexus answers after one fdatasync: 5 s without an answer is not slow, it is gone.
const TIMEOUT_MS = 5000;
// A verdict with one rejected entry per event of the largest batch fits several times.
const ANSWER_BYTES_MAX = 256 * 1024;
/** Answers that say something about these events, however often they are sent: malformed, of an unknown kind, in breach of a schema. */
const ABOUT_THE_BATCH: ReadonlySet<number> = new Set([400, 415, 422]);
// Longer than any overload that a server can foresee; a mistaken `retry-after: 86400` must not end the telling.
const RETRY_AFTER_MS_MAX = 60_000;

export class NexusClient {
	readonly #url: URL;
	readonly #path: string;
	readonly #clock: Clock;
	readonly #timeoutMs: number;
	readonly #identity: (() => MeshIdentity | undefined) | undefined;
	#client: Promise<Client> | undefined;
	/** Of the certificate that the client shows. */
	#generation = -1;

	/** Throws where the URL is none, or not one of HTTP. */
	constructor(options: NexusClientOptions) {
		const url = new URL(options.url);
		if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`not an http: or https: URL: ${options.url}`);
		this.#url = url;
		this.#identity = url.protocol === "https:" ? options.identity : undefined;
		this.#path = `${url.pathname.replace(/\/$/, "")}/v1/events`;
		this.#clock = options.clock;
		this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
	}

	/** `batch`: events as JSON. Never rejects; an aborted `signal` is a failure like any other. */
	async post(batch: readonly string[], signal: AbortSignal): Promise<PostVerdict> {
		// Not AbortSignal.any: `signal` lives as long as the sidecar, and should keep nothing of each batch.
		const cut = new AbortController();
		const onAbort = (): void => cut.abort(signal.reason);
		const timer = this.#clock.setTimer(this.#timeoutMs, () => cut.abort(new Error(`no answer within ${this.#timeoutMs} ms`)));
		signal.addEventListener("abort", onAbort);
		try {
			signal.throwIfAborted();
			const client = await this.#open();
			const { statusCode, headers, body } = await client.request({
				method: "POST",
				path: this.#path,
				headers: { "content-type": BATCH_TYPE, "user-agent": "nexus-sidecar" },
				body: `[${batch.join(",")}]`,
				signal: cut.signal,
			});
			const text = await body.text();
			return this.#judge(statusCode, headers["retry-after"], text);
		} catch (thrown) {
			return { kind: "failed", message: messageOf(thrown), retryAfterMs: undefined };
		} finally {
			timer.cancel();
			signal.removeEventListener("abort", onAbort);
		}
	}

	/** Cuts what is under way. */
	async close(): Promise<void> {
		await (await this.#client)?.destroy();
	}

	/** Batches follow one another, so that nothing is under way when a new certificate asks for a new connection. */
	#open(): Promise<Client> {
		if (this.#identity === undefined) {
			this.#client ??= openClient(this.#url);
			return this.#client;
		}
		const identity = this.#identity();
		if (identity === undefined) throw new Error("this service has no identity yet");
		const { generation } = identity.client;
		if (this.#client !== undefined && generation === this.#generation) return this.#client;
		const old = this.#client;
		void old?.then((client) => client.destroy());
		this.#generation = generation;
		this.#client = openMeshClient(this.#url, identity, this.#clock, () => {
			this.#generation = -1;
		});
		return this.#client;
	}

	#judge(status: number, retryAfter: string | string[] | undefined, text: string): PostVerdict {
		if (status >= 200 && status < 300) return judgeAnswer(text);
		if (status === 413) return { kind: "too_large" };
		if (status === 429) return { kind: "busy", retryAfterMs: this.#delayMs(retryAfter) };
		if (status >= 500) return { kind: "failed", message: `status ${status}`, retryAfterMs: this.#delayMs(retryAfter) };
		// Who is not let in, or has the wrong address, may be let in once somebody has put that right: the events are as good as before.
		if (ABOUT_THE_BATCH.has(status)) return { kind: "refused", status };
		return { kind: "failed", message: `status ${status}`, retryAfterMs: this.#delayMs(retryAfter) };
	}

	/** RFC 9110 section 10.2.3: seconds, or a date. */
	#delayMs(field: string | string[] | undefined): number | undefined {
		if (typeof field !== "string") return undefined;
		const ms = /^\d+$/.test(field) ? Number(field) * 1000 : Date.parse(field) - this.#clock.wallMs();
		return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
	}
}

/** Loaded with the first batch: undici costs 62 ms and 25 MB, which a sidecar without Nexus never spends. */
async function openClient({ origin }: URL): Promise<Client> {
	const { Client } = await import("undici");
	return new Client(origin, { maxResponseSize: ANSWER_BYTES_MAX, pipelining: 1 });
}

async function openMeshClient({ origin, hostname }: URL, identity: MeshIdentity, clock: Clock, onRetire: () => void): Promise<Client> {
	const [{ Client }, { nexusConnector }] = await Promise.all([import("undici"), import("../identity/nexus-connector.ts")]);
	return new Client(origin, { connect: nexusConnector(identity, hostname, clock, onRetire), maxResponseSize: ANSWER_BYTES_MAX, pipelining: 1 });
}

/** An answer that does not say what became of the events is no acknowledgement, whatever its status. */
function judgeAnswer(text: string): PostVerdict {
	const answer = parseObject(text);
	const rejected = answer?.rejected;
	if (typeof answer?.accepted !== "number" || !Array.isArray(rejected)) {
		return { kind: "failed", message: "the answer is not that of a Nexus", retryAfterMs: undefined };
	}
	const reason: unknown = rejected[0]?.reason;
	return { kind: "delivered", rejected: rejected.length, firstReason: typeof reason === "string" ? reason : "" };
}

function parseObject(text: string): Record<string, unknown> | undefined {
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
	} catch {
		return undefined; // the caller says what that means
	}
}
