/**
 * CloudEvents "HTTP 1.1 Web Hooks" 1.0 section 4: before anything is sent, the receiver is asked whether it wants to be sent something by us, and
 * how much. Until it agrees nothing is delivered, and no try is spent.
 */
import type { Clock } from "../../../core/clock.ts";
import { Gcra } from "../../../limits/gcra.ts";
import type { Answer } from "./webhook.ts";
import { causeOf } from "./webhook-cause.ts";

export interface HandshakeOptions {
	readonly url: URL;
	readonly origin: string;
	readonly clock: Clock;
	readonly isTls: boolean;
	readonly request: (request: { method: "OPTIONS"; path: string; headers: Record<string, string>; signal: AbortSignal }) => Promise<Answer>;
}

/** A receiver may take its permission back; it is asked again each day. */
const VALID_MS = 24 * 3_600_000;
const RETRY_MS = 30_000;
const TIMEOUT_MS = 10_000;
const NS_PER_MS = 1e6;

export class Handshake {
	readonly #options: HandshakeOptions;
	#validUntilMs = 0;
	#retryAtMs = 0;
	#asking: Promise<void> | undefined;
	#rate: Gcra | undefined;
	#fullAtNs = 0;
	trouble = "";

	constructor(options: HandshakeOptions) {
		this.#options = options;
	}

	readiness(nowMs: number): number | Promise<void> {
		if (nowMs < this.#validUntilMs) {
			const waitNs = this.#rate?.waitNs(this.#fullAtNs, Math.round(nowMs * NS_PER_MS)) ?? 0;
			return waitNs > 0 ? Math.ceil(waitNs / NS_PER_MS) : 0;
		}
		if (nowMs < this.#retryAtMs) return this.#retryAtMs - nowMs;
		this.#asking ??= this.#ask().finally(() => {
			this.#asking = undefined;
		});
		return this.#asking;
	}

	/** One delivery of what was allowed. */
	spend(): void {
		if (this.#rate === undefined) return;
		this.#fullAtNs = this.#rate.take(this.#fullAtNs, Math.round(this.#options.clock.monotonicMs() * NS_PER_MS));
	}

	async #ask(): Promise<void> {
		const { url, origin, clock, request } = this.#options;
		const cut = new AbortController();
		const timer = clock.setTimer(TIMEOUT_MS, () => cut.abort(new Error(`no answer to OPTIONS within ${TIMEOUT_MS} ms`)));
		try {
			const { status, headers } = await request({
				method: "OPTIONS",
				path: `${url.pathname}${url.search}`,
				headers: { "user-agent": "nexus", "webhook-request-origin": origin, "webhook-request-rate": "*" },
				signal: cut.signal,
			});
			this.trouble = this.#judge(status, headers);
		} catch (thrown) {
			this.trouble = `the handshake failed: ${causeOf(thrown, this.#options.isTls)}`;
		} finally {
			timer.cancel();
		}
		const nowMs = clock.monotonicMs();
		if (this.trouble === "") this.#validUntilMs = nowMs + VALID_MS;
		else this.#retryAtMs = nowMs + RETRY_MS;
	}

	#judge(status: number, headers: Answer["headers"]): string {
		const allowed = headers["webhook-allowed-origin"];
		if (status < 200 || status >= 300 || typeof allowed !== "string") {
			return `the receiver did not agree to the handshake (${status}, ${typeof allowed === "string" ? allowed : "no webhook-allowed-origin"})`;
		}
		const origins = allowed.split(",").map((one) => one.trim());
		if (!origins.includes("*") && !origins.includes(this.#options.origin)) {
			return `the receiver allows ${allowed.slice(0, 100)}, and not ${this.#options.origin}`;
		}
		// Requests a minute, or `*`.
		const rate = headers["webhook-allowed-rate"];
		const perMinute = typeof rate === "string" && /^[1-9]\d{0,8}$/.test(rate) ? Number(rate) : undefined;
		this.#rate = perMinute === undefined ? undefined : new Gcra(perMinute / 60, 1);
		return "";
	}
}
