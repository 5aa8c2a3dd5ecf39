/** Why a request went as it did: the ordered decisions of one exchange. The one trace type, live and offline. */
import type { Reason } from "../core/reasons.ts";
import type { Place } from "./snapshot.ts";

/** Which stage decided, in the order of a request's life. */
export type DecisionStage =
	| "caller"
	| "authorize"
	| "limit"
	| "route"
	| "mirror"
	| "deadline"
	| "concurrency"
	| "breaker"
	| "pick"
	| "fault"
	| "attempt"
	| "retry"
	| "hedge"
	| "answer";

/** `yes`: went on or was taken. `no`: was refused or passed over. `note`: only told. */
export type DecisionVerdict = "yes" | "no" | "note";

/** Plain JSON terms. */
export type DecisionData = { readonly [key: string]: string | number | boolean | null | readonly string[] | readonly DecisionData[] };

export interface Decision {
	readonly stage: DecisionStage;
	readonly verdict: DecisionVerdict;
	/** Since the last byte of the request head; 0 offline. */
	readonly atMs: number;
	/** One sentence without a full stop. */
	readonly text: string;
	/** The line of the policy that caused it; undefined where no line of the policy did. */
	readonly place: Place | undefined;
	readonly data: DecisionData | undefined;
}

export interface DecisionTrace {
	/** The request id of the exchange, "" offline. */
	readonly id: string;
	/** ISO 8601, when the exchange began; "" offline. */
	readonly time: string;
	readonly direction: "inbound" | "outbound";
	readonly method: string;
	readonly host: string;
	/** With the query. */
	readonly target: string;
	readonly route: string;
	readonly upstream: string;
	readonly endpoint: string;
	/** 0 where none was sent, and offline where only the live state could tell. */
	readonly status: number;
	readonly reason: Reason | undefined;
	readonly detail: string;
	readonly attempts: number;
	readonly durationMs: number;
	readonly policyVersion: number;
	readonly decisions: readonly Decision[];
}

// A trace is for people: a request with more decisions than this has a loop, not a story.
const DECISIONS_MAX = 256;

/** Takes the decisions of one exchange as they fall. */
export class DecisionLog {
	readonly decisions: Decision[] = [];
	readonly #sinceMs: number;
	readonly #now: () => number;

	/** `now`: monotonic milliseconds. `sinceMs`: when the exchange began. */
	constructor(now: () => number, sinceMs = now()) {
		this.#now = now;
		this.#sinceMs = sinceMs;
	}

	add(stage: DecisionStage, verdict: DecisionVerdict, text: string, place?: Place, data?: DecisionData): void {
		if (this.decisions.length >= DECISIONS_MAX) return;
		const atMs = Math.round((this.#now() - this.#sinceMs) * 1000) / 1000;
		this.decisions.push({ stage, verdict, atMs, text, place, data });
	}
}
