/**
 * When a certificate is renewed: at 70 % of its life, again with growing pauses while that fails, with warnings before it ends. Decides
 * only; whoever owns it makes the key, asks the authority and swaps contexts.
 *
 * Certificates are dated in wall time, which jumps; pauses are monotonic, which does not. So it looks at both, and at least every 30 s.
 */

import type { Clock, Timer } from "../core/clock.ts";
import { assertNever } from "../core/errors.ts";
import type { Rng } from "../core/rng.ts";
import { CLOCK_SKEW_MS } from "./path-rules.ts";

/** As Linkerd. The rest of the life, seven hours of a day, is for an authority that is away. */
const RENEW_AT = 0.7;
/** Of the life, around RENEW_AT: services that were started together do not come to the authority together. */
const JITTER = 0.1;
/** Of the life: when somebody should look, and when somebody must. */
const WARN_AT = [0.8, 0.95] as const;
/** An authority that restarts is missed by seconds, one that is away not asked more often than this. */
const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 5 * 60_000;
/** Of the life, for certificates of minutes or seconds: tries enough before the end. */
const RETRY_BASE_PART = 1 / 100;
const RETRY_MAX_PART = 1 / 20;
/** How late a jump of the wall clock is seen at most. */
const LOOK_MS = 30_000;
const PAUSE_MIN_MS = 10;

/** Wall time. */
export interface CertificateSpan {
	readonly notBeforeMs: number;
	readonly notAfterMs: number;
}

export interface RotationWarning {
	/** Until the certificate ends; 0 where it has. */
	readonly leftMs: number;
	/** Renewals in a row that have failed. */
	readonly failures: number;
	/** Of the last one; empty where none has been answered. */
	readonly lastError: string;
}

export interface RotationOptions {
	readonly clock: Clock;
	readonly rng: Rng;
	/** Begin a renewal, bounded in time, and answer once with `renewed` or `failed`. Not called again before. */
	readonly onRenew: () => void;
	/** At 80 % and 95 % of the life, where it has not been renewed by then. */
	readonly onExpiring: (warning: RotationWarning) => void;
	/** Once, when it has ended. Renewals go on: an authority may come back. */
	readonly onExpired: (warning: RotationWarning) => void;
}

type Phase =
	/** Until the wall clock says so, or as much time has passed as it said at first: it may have been set back. */
	| { readonly kind: "holding"; readonly renewAtMs: number; readonly renewAtMonotonicMs: number }
	| { readonly kind: "renewing" }
	| { readonly kind: "pausing"; readonly untilMonotonicMs: number };

export class Rotation {
	readonly #options: RotationOptions;
	#span: CertificateSpan;
	/** Of the life as we have it, from receipt to end. */
	#beginMs: number;
	#phase: Phase;
	/** How many of WARN_AT have been told, and whether the end has. */
	#warned = 0;
	#expired = false;
	#failures = 0;
	#lastError = "";
	#timer: Timer | undefined;
	#stopped = false;

	constructor(span: CertificateSpan, options: RotationOptions) {
		this.#options = options;
		this.#span = span;
		this.#beginMs = this.#beginOf(span);
		this.#phase = this.#hold();
		this.#schedule();
	}

	get phase(): Phase["kind"] {
		return this.#phase.kind;
	}

	/** The new certificate is in use. One that does not last longer than the old one counts as a failure: it was not renewed. */
	renewed(span: CertificateSpan): void {
		if (span.notAfterMs <= this.#span.notAfterMs) {
			this.failed("the new certificate does not last longer than the old one");
			return;
		}
		this.#span = span;
		this.#beginMs = this.#beginOf(span);
		this.#warned = 0;
		this.#expired = false;
		this.#failures = 0;
		this.#lastError = "";
		this.#phase = this.#hold();
		this.#schedule();
	}

	/** `error`: one sentence for the warnings. */
	failed(error: string): void {
		this.#failures++;
		this.#lastError = error;
		this.#phase = { kind: "pausing", untilMonotonicMs: this.#options.clock.monotonicMs() + this.#pauseMs() };
		this.#schedule();
	}

	/** Idempotent; nothing is called back after it. */
	stop(): void {
		this.#stopped = true;
		this.#timer?.cancel();
	}

	#look(): void {
		const { clock } = this.#options;
		const nowMs = clock.wallMs();
		this.#warn(nowMs);
		if (!this.#stopped && this.#isDue(nowMs, clock.monotonicMs())) {
			this.#phase = { kind: "renewing" };
			this.#options.onRenew();
		}
		this.#schedule();
	}

	#warn(nowMs: number): void {
		const { notAfterMs } = this.#span;
		const warning = { leftMs: Math.max(0, notAfterMs - nowMs), failures: this.#failures, lastError: this.#lastError };
		if (nowMs >= notAfterMs) {
			if (this.#expired) return;
			this.#expired = true;
			this.#warned = WARN_AT.length;
			this.#options.onExpired(warning);
			return;
		}
		// After a jump over both, one warning is enough.
		const passed = WARN_AT.filter((part) => nowMs >= this.#partMs(part)).length;
		if (passed <= this.#warned) return;
		this.#warned = passed;
		this.#options.onExpiring(warning);
	}

	#isDue(nowMs: number, monotonicMs: number): boolean {
		const phase = this.#phase;
		switch (phase.kind) {
			case "holding":
				return nowMs >= phase.renewAtMs || monotonicMs >= phase.renewAtMonotonicMs;
			case "pausing":
				return monotonicMs >= phase.untilMonotonicMs;
			case "renewing":
				return false;
			default:
				return assertNever(phase);
		}
	}

	/** The next moment at which something may have to be done; both callers of `onRenew` and of us may have answered meanwhile. */
	#schedule(): void {
		this.#timer?.cancel();
		if (this.#stopped) return;
		const { clock } = this.#options;
		const [nowMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
		const phase = this.#phase;
		const waits = [LOOK_MS];
		if (phase.kind === "holding") waits.push(phase.renewAtMs - nowMs, phase.renewAtMonotonicMs - monotonicMs);
		if (phase.kind === "pausing") waits.push(phase.untilMonotonicMs - monotonicMs);
		const warnAt = WARN_AT[this.#warned];
		if (warnAt !== undefined) waits.push(this.#partMs(warnAt) - nowMs);
		if (!this.#expired) waits.push(this.#span.notAfterMs - nowMs);
		this.#timer = clock.setTimer(Math.max(PAUSE_MIN_MS, Math.min(...waits)), () => this.#look());
	}

	#hold(): Phase {
		const { clock, rng } = this.#options;
		const renewAtMs = this.#partMs(RENEW_AT + (rng() - 0.5) * JITTER);
		const [nowMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
		return { kind: "holding", renewAtMs, renewAtMonotonicMs: monotonicMs + Math.max(0, renewAtMs - nowMs) };
	}

	/** Certificates are dated back for the sake of slow clocks; of one that lasts seconds that would be most of its life. */
	#beginOf({ notBeforeMs }: CertificateSpan): number {
		return Math.min(this.#options.clock.wallMs(), notBeforeMs + CLOCK_SKEW_MS);
	}

	#partMs(part: number): number {
		return Math.round(this.#beginMs + this.#lifeMs() * part);
	}

	#lifeMs(): number {
		return Math.max(0, this.#span.notAfterMs - this.#beginMs);
	}

	#pauseMs(): number {
		const baseMs = Math.min(RETRY_BASE_MS, this.#lifeMs() * RETRY_BASE_PART);
		const maxMs = Math.min(RETRY_MAX_MS, this.#lifeMs() * RETRY_MAX_PART);
		// 2 ** 20 x 1 ms is beyond every ceiling.
		const ceilingMs = Math.min(maxMs, baseMs * 2 ** Math.min(this.#failures - 1, 20));
		return Math.max(PAUSE_MIN_MS, ceilingMs * (0.5 + this.#options.rng() / 2));
	}
}
