/** What outlier detection knows of one host: its failures in a row, its rate in this interval, its ejections. It knows no other host. */

export type EjectionCause =
	| "consecutive_failures"
	| "consecutive_gateway_failures"
	| "consecutive_local_origin_failures"
	| "success_rate"
	| "failure_percentage";

const NO_EJECTIONS: Readonly<Partial<Record<EjectionCause, number>>> = Object.freeze({});

/** The detector as its hosts see it. */
export interface OutlierJudge {
	/** Failures in a row that are too many; 0: never. */
	readonly consecutiveFailures: number;
	readonly consecutiveGatewayFailures: number;
	readonly consecutiveLocalOriginFailures: number;
	/** So many were reached, `lastStatus` (0: no answer) was the last one. Ejects the host, or not if too many are ejected. */
	reached(host: OutlierHost, cause: EjectionCause, count: number, lastStatus: number): void;
	/** Until the host may return. */
	leftMs(host: OutlierHost): number;
}

/** For the admin API. */
export interface OutlierHostView {
	readonly ejected: boolean;
	readonly ejections: number;
	/** Of the last ejection; undefined where there was none. */
	readonly cause: EjectionCause | undefined;
	/** One sentence about the last ejection without a full stop; empty where there was none. */
	readonly detail: string;
	/** Until it may return, which the next interval after that does; 0 when not ejected. */
	readonly leftMs: number;
	/** What the base time of its last ejection was multiplied by, less one for each interval without. */
	readonly timeFactor: number;
	readonly consecutiveFailures: number;
	/** 0..100 in the last interval; -1 where it had too few requests to tell. */
	readonly successRate: number;
}

/**
 * Kept by the endpoint, so that no request looks anything up. What comes in while the host is ejected, has left, or detection is off does not
 * count: those are answers of requests that were under way, or of a panic, and must not speak against a host when it has just returned.
 */
export class OutlierHost {
	readonly key: string;
	readonly #judge: OutlierJudge;
	#counting = false;
	#ejected = false;
	#ejections = 0;
	#ejectionsByCause: Readonly<Partial<Record<EjectionCause, number>>> = NO_EJECTIONS;
	#timeFactor = 0;
	#ejectedAtMs = 0;
	#jitterMs = 0;
	#cause: EjectionCause | undefined = undefined;
	#detail = "";
	#failures = 0;
	#gatewayFailures = 0;
	#localFailures = 0;
	#requests = 0;
	#successes = 0;
	#successRate = -1;

	constructor(key: string, judge: OutlierJudge) {
		this.key = key;
		this.#judge = judge;
	}

	get ejected(): boolean {
		return this.#ejected;
	}

	/** How often it has been ejected since it is here. */
	get ejections(): number {
		return this.#ejections;
	}

	/** The same by detector, those alone that have ejected it. */
	get ejectionsByCause(): Readonly<Partial<Record<EjectionCause, number>>> {
		return this.#ejectionsByCause;
	}

	/** The head of an answer has come: 5xx is a failure, and 502, 503, 504 are those of a gateway. May eject at once. */
	onStatus(status: number): void {
		if (!this.#counting) return;
		this.#requests++;
		this.#localFailures = 0;
		if (status < 500 || status > 599) {
			this.#successes++;
			this.#failures = 0;
			this.#gatewayFailures = 0;
		} else if (status >= 502 && status <= 504) {
			this.#gatewayFailed(status);
			this.#failed(status);
		} else {
			this.#gatewayFailures = 0;
			this.#failed(status);
		}
	}

	/**
	 * No answer: the connection failed, broke, or was silent for too long; a failure of every kind. May eject at once.
	 * Not for what says nothing about the host: a client that went away, a queue of ours that is full.
	 */
	onLocalFailure(): void {
		if (!this.#counting) return;
		this.#requests++;
		const threshold = this.#judge.consecutiveLocalOriginFailures;
		if (++this.#localFailures >= threshold && threshold > 0) {
			this.#localFailures = 0;
			this.#judge.reached(this, "consecutive_local_origin_failures", threshold, 0);
		}
		this.#gatewayFailed(0);
		this.#failed(0);
	}

	view(): OutlierHostView {
		return {
			ejected: this.#ejected,
			ejections: this.#ejections,
			cause: this.#cause,
			detail: this.#detail,
			leftMs: this.#ejected ? this.#judge.leftMs(this) : 0,
			timeFactor: this.#timeFactor,
			consecutiveFailures: this.#failures,
			successRate: this.#successRate,
		};
	}

	// What follows is called by the detector alone.

	/** Whether it is a member that is not ejected, and detection is on. */
	get counting(): boolean {
		return this.#counting;
	}

	get timeFactor(): number {
		return this.#timeFactor;
	}

	get ejectedAtMs(): number {
		return this.#ejectedAtMs;
	}

	get jitterMs(): number {
		return this.#jitterMs;
	}

	/** Of the interval that is ending. */
	get requests(): number {
		return this.#requests;
	}

	/** 0..100 of the interval that is ending; only where there were requests. */
	get successRate(): number {
		return (100 * this.#successes) / this.#requests;
	}

	/** Begins or ends the counting; nothing of before is kept, except how often it was ejected. */
	count(on: boolean): void {
		this.#counting = on;
		this.#timeFactor = 0;
		this.#successRate = -1;
		this.#forget();
	}

	eject(atMs: number, timeFactor: number, jitterMs: number, cause: EjectionCause, detail: string): void {
		this.#ejected = true;
		this.#counting = false;
		this.#ejections++;
		this.#ejectionsByCause = { ...this.#ejectionsByCause, [cause]: (this.#ejectionsByCause[cause] ?? 0) + 1 };
		this.#ejectedAtMs = atMs;
		this.#timeFactor = timeFactor;
		this.#jitterMs = jitterMs;
		this.#cause = cause;
		this.#detail = detail;
		this.#forget();
	}

	/** Takes part again, with no failure to its name. */
	release(): void {
		this.#ejected = false;
		this.#counting = true;
	}

	/** It is no member any more. */
	leave(): void {
		this.#ejected = false;
		this.count(false);
	}

	/** An interval without ejection is over. */
	calmDown(): void {
		if (this.#timeFactor > 0) this.#timeFactor--;
	}

	/** `judged`: whether there were enough requests for a rate. */
	endInterval(judged: boolean): void {
		this.#successRate = judged ? this.successRate : -1;
		this.#requests = 0;
		this.#successes = 0;
	}

	#gatewayFailed(status: number): void {
		if (!this.#counting) return;
		const threshold = this.#judge.consecutiveGatewayFailures;
		if (++this.#gatewayFailures < threshold || threshold === 0) return;
		this.#gatewayFailures = 0;
		this.#judge.reached(this, "consecutive_gateway_failures", threshold, status);
	}

	#failed(status: number): void {
		if (!this.#counting) return;
		const threshold = this.#judge.consecutiveFailures;
		if (++this.#failures < threshold || threshold === 0) return;
		this.#failures = 0;
		this.#judge.reached(this, "consecutive_failures", threshold, status);
	}

	#forget(): void {
		this.#failures = 0;
		this.#gatewayFailures = 0;
		this.#localFailures = 0;
		this.#requests = 0;
		this.#successes = 0;
	}
}
