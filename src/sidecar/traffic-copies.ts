/** Puts on /metrics what becomes of copies of the traffic: mirrored requests, decision traces, spans. */
import type { MetricSource } from "../metrics/source.ts";
import type { ExchangeTracing } from "./exchange/exchange-tracing.ts";
import type { Targets } from "./targets.ts";

export function copiesSource(targets: Pick<Targets, "mirrorCounts">, tracing: ExchangeTracing): MetricSource {
	return {
		collect(emit) {
			for (const [upstream, { sent, failed, skipped }] of targets.mirrorCounts()) {
				emit("nexus_mirror_requests_total", { upstream, result: "sent" }, sent);
				emit("nexus_mirror_requests_total", { upstream, result: "failed" }, failed);
				emit("nexus_mirror_requests_total", { upstream, result: "skipped" }, skipped);
			}
			emit("nexus_traces_total", { result: "collected" }, tracing.collected);
			const { spans } = tracing;
			if (spans === undefined) return;
			emit("nexus_spans_total", { result: "ended" }, spans.stats.ended);
			emit("nexus_spans_total", { result: "dropped" }, spans.stats.dropped);
		},
	};
}
