/** Reads the counters of the hot path out for a scrape. */
import { LATENCY_BOUNDS_S, type LatencyHistogram } from "./histogram.ts";
import type { Emit, HistogramReading, MetricSource } from "./source.ts";
import { STATUS_CLASSES, type TrafficCounters, type TrafficRegistry } from "./traffic.ts";

// Rare enough that a series which stays at 0 would only be noise.
const SHOWN_WHEN_SEEN = new Set(["none", "1xx"]);

/**
 * Counters that no request has touched are left out, so that a thousand unused upstreams cost a scrape nothing; the
 * common status classes appear together, at 0, with the first request, so that `rate()` sees the first failure.
 */
export function trafficSource(traffic: TrafficRegistry): MetricSource {
	return {
		collect(emit) {
			for (const counters of traffic.values()) if (touched(counters)) emitOne(emit, counters);
		},
	};
}

function emitOne(emit: Emit, counters: TrafficCounters): void {
	const { direction, route, upstream } = counters;
	const labels = { direction, route, upstream };
	counters.statusClasses.forEach((count, index) => {
		const statusClass = STATUS_CLASSES[index] ?? "none";
		if (count === 0 && SHOWN_WHEN_SEEN.has(statusClass)) return;
		emit("nexus_requests_total", { ...labels, status_class: statusClass }, count);
	});
	for (const [reason, count] of counters.reasons) emit("nexus_local_answers_total", { ...labels, reason }, count);
	emit("nexus_requests_active", labels, counters.active);
	emit("nexus_request_retries_total", labels, counters.retries);
	emit("nexus_request_duration_seconds", labels, seconds(counters.total));
	emit("nexus_upstream_duration_seconds", labels, seconds(counters.upstreamTime));
	emit("nexus_proxy_overhead_seconds", labels, seconds(counters.overhead));
}

function touched(counters: TrafficCounters): boolean {
	return counters.active !== 0 || counters.reasons.size > 0 || counters.statusClasses.some((count) => count > 0);
}

function seconds(histogram: LatencyHistogram): HistogramReading {
	return { bounds: LATENCY_BOUNDS_S, counts: histogram.counts, sum: histogram.sumMs / 1000 };
}
