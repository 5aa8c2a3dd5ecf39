/** How a room shows its numbers: it is asked on a scrape and reads them out; nothing happens in between. */
import type { METRICS, MetricName } from "./catalogue.ts";

/** A histogram as it stands now. */
export interface HistogramReading {
	/** Upper bounds of the buckets, rising, in the unit that the metric's name says. */
	readonly bounds: readonly number[];
	/** Observations per bucket, not cumulated; one more than `bounds`, the last is beyond all of them. */
	readonly counts: ArrayLike<number>;
	/** Sum of all observations, in the same unit. */
	readonly sum: number;
}

export type MetricLabels<N extends MetricName> = { readonly [L in (typeof METRICS)[N]["labels"][number]]: string };

export type MetricValue<N extends MetricName> = (typeof METRICS)[N]["type"] extends "histogram" ? HistogramReading : number;

/** The compiler holds name, labels and kind of value to the catalogue. */
export type Emit = <N extends MetricName>(name: N, labels: MetricLabels<N>, value: MetricValue<N>) => void;

export interface MetricSource {
	/** Called on each scrape. Must not wait; may keep nothing of what it emits. */
	collect(emit: Emit): void;
}
