/** Counters of the hot path: plain fields that the scrape reads. One object per (direction, route, upstream). */
import type { Reason } from "../core/reasons.ts";
import { LatencyHistogram } from "./histogram.ts";

/** Names of `TrafficCounters.statusClasses`, by index. */
export const STATUS_CLASSES = Object.freeze(["none", "1xx", "2xx", "3xx", "4xx", "5xx"] as const);

export type Direction = "inbound" | "outbound";

export class TrafficCounters {
	readonly direction: Direction;
	/** Name of the route; empty where the Host alone named the upstream. */
	readonly route: string;
	readonly upstream: string;
	/** Answers by status class: index 1 for 1xx (101 only) .. 5 for 5xx; 0 for none at all. */
	readonly statusClasses = new Float64Array(6);
	/** Local answers and broken exchanges, by reason. */
	readonly reasons = new Map<Reason, number>();
	/** Attempts that were repeated on a new connection. */
	retries = 0;
	/** Requests that have begun and not ended. */
	active = 0;
	/** From the last byte of the request head to the last byte of the answer. */
	readonly total = new LatencyHistogram();
	/** From handing the request to a connection to the answer's head. */
	readonly upstreamTime = new LatencyHistogram();
	/** From the last byte of the request head to handing it to a connection. */
	readonly overhead = new LatencyHistogram();
	readonly #byClass: (LatencyHistogram | undefined)[] = new Array(STATUS_CLASSES.length).fill(undefined);
	readonly #byReason = new Map<Reason, LatencyHistogram>();

	constructor(direction: Direction, route: string, upstream: string) {
		this.direction = direction;
		this.route = route;
		this.upstream = upstream;
	}

	/**
	 * Everything that the end of a request counts, in one call. `status` is 0 where none was sent; `reason` is given for
	 * local answers and broken exchanges.
	 */
	finish(status: number, reason: Reason | undefined, totalMs: number): void {
		const statusClass = status >= 100 && status < 600 ? Math.trunc(status / 100) : 0;
		(this.statusClasses[statusClass] as number)++;
		this.total.observe(totalMs);
		if (reason === undefined) {
			this.#byClass[statusClass] ??= new LatencyHistogram();
			this.#byClass[statusClass].observe(totalMs);
			return;
		}
		this.countReason(reason);
		let latency = this.#byReason.get(reason);
		if (latency === undefined) {
			latency = new LatencyHistogram();
			this.#byReason.set(reason, latency);
		}
		latency.observe(totalMs);
	}

	/** Latency of the finished requests by outcome: the reason where there is one, the status class otherwise. */
	*outcomes(): Iterable<readonly [outcome: string, latency: LatencyHistogram]> {
		for (let i = 0; i < this.#byClass.length; i++) {
			const latency = this.#byClass[i];
			if (latency !== undefined) yield [STATUS_CLASSES[i] ?? "none", latency];
		}
		yield* this.#byReason;
	}

	countReason(reason: Reason): void {
		this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
	}
}

/** All counters of a process; routes come and go with policies, counters stay (Prometheus counters never fall). */
export class TrafficRegistry {
	readonly #all = new Map<string, TrafficCounters>();

	/** The same object for the same labels, for ever. Names come from policy only, so their number is bounded by it. */
	counters(direction: Direction, route: string, upstream: string): TrafficCounters {
		const key = `${direction}\0${route}\0${upstream}`;
		let counters = this.#all.get(key);
		if (counters === undefined) {
			counters = new TrafficCounters(direction, route, upstream);
			this.#all.set(key, counters);
		}
		return counters;
	}

	values(): Iterable<TrafficCounters> {
		return this.#all.values();
	}
}
