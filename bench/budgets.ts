/** What the product has promised itself, as data, and whether a run kept it. Ratios are ours / peer in CPU per request. */
import type { FeatureRow } from "./features.ts";
import type { PeerName } from "./peers/peer.ts";
import type { Results } from "./results.ts";
import type { ThroughputRow } from "./throughput.ts";
import type { TlsName } from "./tls/ends.ts";
import type { TlsRow, TlsSetup } from "./tls/measure.ts";

export interface Budget {
	readonly max: number;
	/** What we would like better still. */
	readonly stretch?: number;
	readonly unit: "x" | "us" | "%" | "ms" | "MB" | "bytes" | "requests";
}

export const CPU_RATIO: Partial<Record<PeerName, Budget>> = {
	haproxy: { max: 1.25, stretch: 1.1, unit: "x" },
	envoy: { max: 0.55, stretch: 0.45, unit: "x" },
	"http-proxy": { max: 0.25, unit: "x" },
};
export const ADDED_P50: Budget = { max: 0.3, unit: "ms" };
export const ADDED_P99: Budget = { max: 1, unit: "ms" };
// 1 MB = 10^6 bytes, the stricter reading.
export const RESIDENT_IDLE: Budget = { max: 70, unit: "MB" };
export const IDLE_CONNECTION: Budget = { max: 6000, unit: "bytes" };
export const START: Budget = { max: 300, unit: "ms" };
export const RELOAD: Budget = { max: 100, unit: "ms" };
export const RELOAD_FAILURES: Budget = { max: 0, unit: "requests" };

// Of resilience and traffic policy, all of it, over a sidecar with none of it.
export const FEATURES_ADDED: Budget = { max: 1.5, unit: "us" };
export const TAP_ADDED: Budget = { max: 2, unit: "%" };

// With one core each, 0.8 of the handshakes a second is 1.25 of the CPU for one.
export const TLS_RATIO: Readonly<Record<TlsSetup, Partial<Record<TlsName, Budget>>>> = {
	listener: { haproxy: { max: 1.3, unit: "x" }, envoy: { max: 0.65, unit: "x" } },
	hop: { envoy: { max: 0.8, unit: "x" }, "envoy, h2 between": { max: 0.8, unit: "x" } },
	"full handshake": { nginx: { max: 1.25, unit: "x" } },
	"resumed handshake": {},
};

export interface Verdict {
	readonly what: string;
	readonly budget: Budget;
	/** NaN where nothing valid was measured. */
	readonly value: number;
	/** Invalid: a fault on either side, told below the table that the figure comes from. */
	readonly outcome: "met" | "met, stretch too" | "missed" | "invalid";
}

/** One verdict for each budget that this run has looked at. */
export function judge(results: Results): Verdict[] {
	const verdicts: Verdict[] = [];
	for (const row of results.throughput ?? []) verdicts.push(...cpuVerdicts(row, "", results.throughput ?? []));
	for (const row of results.log ?? []) verdicts.push(...cpuVerdicts(row, ", access log on", results.log ?? []));
	const latency = results.latency?.find((row) => row.name === "ours");
	if (latency !== undefined) {
		verdicts.push(verdict(`p50 added at ${results.rate}/s`, ADDED_P50, latency.addedP50Ms, latency.faults));
		verdicts.push(verdict(`p99 added at ${results.rate}/s`, ADDED_P99, latency.addedP99Ms, latency.faults));
	}
	const idle = results.idle?.find((row) => row.name === "ours");
	if (idle !== undefined) {
		verdicts.push(verdict("resident memory, idle", RESIDENT_IDLE, idle.readyBytes / 1e6, idle.faults));
		verdicts.push(verdict(`memory of an idle connection, of ${idle.connections}`, IDLE_CONNECTION, idle.perConnectionBytes, idle.faults));
	}
	const start = results.start?.find((row) => row.name === "ours");
	if (start !== undefined) verdicts.push(verdict("start to ready", START, start.medianMs, start.faults));
	const { reload } = results;
	if (reload !== undefined) {
		verdicts.push(verdict(`reload of ${reload.upstreams} upstreams`, RELOAD, reload.medianMs, reload.reloads === 0 ? reload.faults : []));
		const failures = reload.requests === 0 ? Number.NaN : reload.faults.length;
		verdicts.push(verdict("kinds of failure during reloads", RELOAD_FAILURES, failures, reload.requests === 0 ? reload.faults : []));
	}
	verdicts.push(...featureVerdicts(results.features ?? []));
	verdicts.push(...tlsVerdicts(results.tls ?? []));
	return verdicts;
}

function featureVerdicts(rows: readonly FeatureRow[]): Verdict[] {
	return rows.flatMap(({ setup, addedUs, addedShare, faults }) => {
		if (setup === "all features configured")
			return [verdict("CPU per request that all features add", FEATURES_ADDED, addedUs?.median ?? Number.NaN, faults)];
		if (setup === "tap open") return [verdict("CPU per request that an open tap adds", TAP_ADDED, (addedShare?.median ?? Number.NaN) * 100, faults)];
		return [];
	});
}

function tlsVerdicts(rows: readonly TlsRow[]): Verdict[] {
	return rows.flatMap(({ setup, name, ratio, faults }) => {
		const budget = TLS_RATIO[setup][name];
		if (budget === undefined) return [];
		const ours = rows.find((row) => row.setup === setup && row.name === "ours");
		return [verdict(`CPU, ${setup} with mutual TLS / ${name}`, budget, ratio?.median ?? Number.NaN, [...(ours?.faults ?? []), ...faults])];
	});
}

function cpuVerdicts(row: ThroughputRow, suffix: string, rows: readonly ThroughputRow[]): Verdict[] {
	const budget = CPU_RATIO[row.name];
	const ours = rows.find((other) => other.name === "ours" && other.bodyBytes === row.bodyBytes);
	if (budget === undefined || ours === undefined) return [];
	const what = `CPU per request / ${row.name}, ${row.bodyBytes} bytes${suffix}`;
	return [verdict(what, budget, row.ratio?.median ?? Number.NaN, [...ours.faults, ...row.faults])];
}

/** A value beside its budget; any fault makes it invalid, and so does a value that is not a number. */
export function verdict(what: string, budget: Budget, value: number, faults: readonly string[]): Verdict {
	const outcome = () => {
		if (faults.length > 0 || Number.isNaN(value)) return "invalid";
		if (value > budget.max) return "missed";
		return budget.stretch !== undefined && value <= budget.stretch ? "met, stretch too" : "met";
	};
	return { what, budget, value, outcome: outcome() };
}
