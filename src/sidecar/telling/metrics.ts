/** Shows on /metrics how the telling itself fares: events, access log, log. */
import type { MetricSource } from "../../metrics/source.ts";
import type { LineWriter } from "../../telemetry/line-writer.ts";
import type { EventDelivery } from "./event-delivery.ts";
import type { EventSpool } from "./event-spool.ts";

export interface TellingParts {
	readonly spool: EventSpool;
	/** Undefined where no Nexus is configured. */
	readonly delivery: EventDelivery | undefined;
	/** Undefined where the access log is off. */
	readonly accessLog: LineWriter | undefined;
	readonly log: { readonly dropped: number };
}

/** `parts` is asked on each scrape, because a reload may turn parts on and off. */
export function tellingSource(parts: () => TellingParts): MetricSource {
	return {
		collect(emit) {
			const { spool, delivery, accessLog, log } = parts();
			emit("nexus_log_lines_dropped_total", {}, log.dropped);
			if (accessLog !== undefined) {
				emit("nexus_access_log_lines_total", { result: "written" }, accessLog.written);
				emit("nexus_access_log_lines_total", { result: "dropped" }, accessLog.dropped);
			}
			if (delivery === undefined) return;
			emit("nexus_events_queued", {}, spool.size + delivery.pendingEvents);
			emit("nexus_events_queued_bytes", {}, spool.bytes + delivery.pendingBytes);
			emit("nexus_events_sent_total", {}, delivery.sent);
			emit("nexus_event_breaker_open", {}, delivery.breakerOpen ? 1 : 0);
			for (const [result, count] of Object.entries(delivery.deliveries)) emit("nexus_event_deliveries_total", { result }, count);
			const { directory, losses } = spool;
			const { rejected, refused, tooLarge, undelivered } = delivery.dropped;
			const [overflow, damaged] = [losses.total("overflow"), losses.total("damaged")];
			const dropped = { overflow, too_large: losses.total("tooLarge") + tooLarge, rejected, refused, undelivered, damaged };
			for (const [cause, count] of Object.entries(dropped)) emit("nexus_events_dropped_total", { cause }, count);
			for (const [cause, counts] of [
				["overflow", losses.overflow],
				["too_large", losses.tooLarge],
				["damaged", losses.damaged],
			] as const)
				counts.forEach((count, priority) => {
					if (count > 0) emit("nexus_event_spool_dropped_total", { cause, priority: String(priority) }, count);
				});
			if (directory === undefined) return;
			emit("nexus_event_spool_bytes", {}, directory.bytes);
			emit("nexus_event_spool_unwritten", {}, directory.unwrittenEvents);
			emit("nexus_event_spool_faulty", {}, directory.faulty ? 1 : 0);
		},
	};
}
