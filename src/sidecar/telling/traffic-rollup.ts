/** What passed the sidecar, told once a second: the difference of the hot path's counters, never work per request. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { LatencyData } from "../../events/catalogue.ts";
import { LATENCY_BOUNDS_S, type LatencyHistogram } from "../../metrics/histogram.ts";
import type { TrafficCounters, TrafficRegistry } from "../../metrics/traffic.ts";
import type { EventFeed } from "./event-feed.ts";

const WINDOW_MS = 1000;
const BOUNDS_MS: readonly number[] = Object.freeze(LATENCY_BOUNDS_S.map((s) => s * 1000));

export interface TrafficRollupOptions {
	readonly traffic: TrafficRegistry;
	readonly feed: EventFeed;
	readonly clock: Clock;
}

interface Reading {
	readonly counts: Float64Array;
	sumMs: number;
}

export class TrafficRollup {
	readonly #traffic: TrafficRegistry;
	readonly #feed: EventFeed;
	readonly #clock: Clock;
	readonly #finished = new Map<TrafficCounters, number>();
	readonly #last = new Map<LatencyHistogram, Reading>();
	#windowStartMs: number;
	#timer: Timer | undefined;

	/** Begins at once. */
	constructor(options: TrafficRollupOptions) {
		this.#traffic = options.traffic;
		this.#feed = options.feed;
		this.#clock = options.clock;
		this.#windowStartMs = options.clock.monotonicMs();
		this.#schedule();
	}

	/** Tells the last, shorter window. Idempotent. */
	stop(): void {
		if (this.#timer === undefined) return;
		this.#timer.cancel();
		this.#timer = undefined;
		this.#tell();
	}

	#schedule(): void {
		this.#timer = this.#clock.setTimer(WINDOW_MS, () => {
			this.#tell();
			this.#schedule();
		});
	}

	#tell(): void {
		// Nobody listens: the window grows until somebody does.
		if (!this.#feed.hasListeners) return;
		const nowMs = this.#clock.monotonicMs();
		const windowMs = Math.round(nowMs - this.#windowStartMs);
		this.#windowStartMs = nowMs;
		for (const counters of this.#traffic.values()) {
			const finished = counters.statusClasses.reduce((sum, count) => sum + count, 0);
			if (finished === (this.#finished.get(counters) ?? 0)) continue;
			this.#finished.set(counters, finished);
			for (const [outcome, latency] of counters.outcomes()) this.#tellOutcome(counters, outcome, latency, windowMs);
		}
	}

	#tellOutcome({ direction, route, upstream }: TrafficCounters, outcome: string, latency: LatencyHistogram, windowMs: number): void {
		const { count, data } = this.#since(latency);
		if (count === 0) return;
		this.#feed.emit("nexus.mesh.traffic.routed", { windowMs, direction, route, upstream, outcome, count, latency: data }, upstream);
	}

	/** What was observed since this was asked the last time. */
	#since(latency: LatencyHistogram): { count: number; data: LatencyData } {
		const last = this.#last.get(latency) ?? { counts: new Float64Array(latency.counts.length), sumMs: 0 };
		const counts = Array.from(latency.counts, (count, i) => count - (last.counts[i] ?? 0));
		const sumMs = Math.round((latency.sumMs - last.sumMs) * 1000) / 1000;
		last.counts.set(latency.counts);
		last.sumMs = latency.sumMs;
		this.#last.set(latency, last);
		return { count: counts.reduce((sum, n) => sum + n, 0), data: { boundsMs: BOUNDS_MS, counts, sumMs } };
	}
}
