/** A webhook: one POST per event, judged by its answer. Redirects are not followed, names are guarded, answers are bounded, patience is obeyed. */
import type { Dispatcher as HttpDispatcher, Pool } from "undici";
import type { Clock } from "../../../core/clock.ts";
import { ACK, type Entry, type Sink, type Verdict } from "../delivery.ts";
import { ANSWER_BYTES_MAX, ANSWER_CHARS_MAX, DELAY_MS_MAX } from "../limits.ts";
import { guardedLookup } from "./webhook-address.ts";
import { causeOf } from "./webhook-cause.ts";
import { Handshake } from "./webhook-handshake.ts";
import { type ContentMode, signatureHeaders, webhookMessageOf } from "./webhook-message.ts";
import type { WebhookTls } from "./webhook-tls.ts";

export interface WebhookOptions {
	readonly url: string;
	/** Undefined where the URL is http:. */
	readonly tls: WebhookTls | undefined;
	readonly mode: ContentMode;
	/** Further fields of each request. */
	readonly headers: Readonly<Record<string, string>>;
	/** See webhook-message.ts; empty: nothing is signed. */
	readonly secrets: readonly Buffer[];
	/** The name that this Nexus asks permission under; undefined: it does not ask. */
	readonly origin: string | undefined;
	/** Names the subscription in ids. */
	readonly subscription: string;
	/** Connections at most. */
	readonly connections: number;
	/** Until the answer is complete. */
	readonly timeoutMs: number;
	readonly clock: Clock;
	/** The receiver has said that it is gone for good (410). */
	readonly onGone: () => void;
}

const CONNECT_MS = 10_000;
/** The event itself is what they complain about: the same bytes will not fare better later. */
const NEVER: ReadonlySet<number> = new Set([400, 413, 415, 422]);
const GONE = 410;
/** They may say when to come again, and it concerns every event. */
const BUSY: ReadonlySet<number> = new Set([429, 503]);

export class Webhook implements Sink {
	readonly #options: WebhookOptions;
	readonly #url: URL;
	readonly #handshake: Handshake | undefined;
	#pool: Promise<Pool> | undefined;
	/** Of the certificates that the pool was made with. */
	#version = 0;
	#heldUntilMs = 0;
	#whyHeld = "";

	constructor(options: WebhookOptions) {
		this.#options = options;
		this.#url = new URL(options.url);
		const { origin, clock } = options;
		this.#handshake =
			origin === undefined
				? undefined
				: new Handshake({ url: this.#url, origin, clock, isTls: options.tls !== undefined, request: (request) => this.#request(request) });
	}

	get trouble(): string {
		if (this.#heldUntilMs > this.#options.clock.monotonicMs()) return this.#whyHeld;
		return this.#handshake?.trouble ?? "";
	}

	readiness(nowMs: number): number | Promise<void> {
		if (this.#heldUntilMs > nowMs) return this.#heldUntilMs - nowMs;
		return this.#handshake?.readiness(nowMs) ?? 0;
	}

	async deliver({ json, sequence }: Entry, signal: AbortSignal): Promise<Verdict> {
		const { mode, headers, secrets, subscription, clock } = this.#options;
		try {
			const message = webhookMessageOf(json, mode);
			const id = `${subscription}.${sequence}`;
			const signed = secrets.length === 0 ? undefined : signatureHeaders(id, clock.wallMs(), message.body, secrets);
			this.#handshake?.spend();
			const answer = await this.#request({
				method: "POST",
				path: `${this.#url.pathname}${this.#url.search}`,
				headers: { "user-agent": "nexus", ...headers, ...message.headers, ...signed },
				body: message.body,
				signal,
			});
			return this.#judge(answer);
		} catch (thrown) {
			return {
				kind: "nak",
				reason: signal.aborted ? `no answer within ${this.#options.timeoutMs} ms` : causeOf(thrown, this.#options.tls !== undefined),
			};
		}
	}

	async close(): Promise<void> {
		await this.#pool?.then(
			(pool) => pool.destroy(),
			() => {},
		);
	}

	async #request(request: Omit<HttpDispatcher.RequestOptions, "opaque">): Promise<Answer> {
		const pool = await this.#currentPool();
		const { statusCode, headers, body } = await pool.request(request);
		const parts: Buffer[] = [];
		let bytes = 0;
		for await (const part of body as AsyncIterable<Buffer>) {
			bytes += part.length;
			if (bytes <= ANSWER_BYTES_MAX) parts.push(part);
			// Its verdict is in the status; a connection that goes on for ever is cut.
			else break;
		}
		return { status: statusCode, headers, text: Buffer.concat(parts).toString().slice(0, ANSWER_CHARS_MAX) };
	}

	#judge({ status, headers, text: answer }: Answer): Verdict {
		if (status >= 200 && status < 300) return ACK;
		const reason = status >= 300 && status < 400 ? `answered ${status}: redirects are not followed` : `answered ${status}`;
		if (NEVER.has(status)) return { kind: "term", reason, status, answer };
		if (status === GONE) this.#options.onGone();
		const delayMs = this.#retryAfterMs(headers["retry-after"]);
		if (delayMs === undefined) return { kind: "nak", reason, status, answer };
		if (BUSY.has(status)) {
			this.#heldUntilMs = Math.max(this.#heldUntilMs, this.#options.clock.monotonicMs() + delayMs);
			this.#whyHeld = `${reason} and asked to be left alone for ${Math.ceil(delayMs / 1000)} s`;
		}
		return { kind: "nak", reason, status, answer, delayMs };
	}

	/** RFC 9110 section 10.2.3: seconds, or a date. What is over already, perhaps by another clock than ours, asks for nothing. */
	#retryAfterMs(field: string | string[] | undefined): number | undefined {
		if (typeof field !== "string") return undefined;
		const ms = /^\d+$/.test(field) ? Number(field) * 1000 : Date.parse(field) - this.#options.clock.wallMs();
		return ms > 0 ? Math.min(ms, DELAY_MS_MAX) : undefined;
	}

	/** Connections that have shown an older certificate, or were made when others were trusted, end with what is under way on them. */
	#currentPool(): Promise<Pool> {
		const version = this.#options.tls?.version ?? 0;
		const before = this.#pool;
		if (before !== undefined && version === this.#version) return before;
		this.#version = version;
		const opened = this.#open();
		this.#pool = opened;
		opened.catch(() => {
			if (this.#pool === opened) this.#pool = undefined;
		});
		// Behind those who have just asked for it.
		void before?.then(
			(pool) => pool.close(),
			() => {},
		);
		return opened;
	}

	/** undici is loaded with the first delivery: a Nexus without webhooks never pays for it. */
	async #open(): Promise<Pool> {
		const { Pool } = await import("undici");
		const { connections, timeoutMs, tls } = this.#options;
		const connectMs = Math.min(CONNECT_MS, timeoutMs);
		return new Pool(this.#url.origin, {
			connections,
			pipelining: 1,
			connect: tls === undefined ? { lookup: guardedLookup, timeout: connectMs } : tls.connector(connectMs),
			headersTimeout: timeoutMs,
			bodyTimeout: timeoutMs,
		});
	}
}

export interface Answer {
	readonly status: number;
	readonly headers: Readonly<Record<string, string | string[] | undefined>>;
	/** The beginning of the body. */
	readonly text: string;
}
