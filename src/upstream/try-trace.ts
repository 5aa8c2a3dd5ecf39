/** What the stages of a try say in a decision trace; called only where somebody asked. */
import type { DecisionLog } from "../policy/decision-trace.ts";
import type { Breaker } from "../resilience/breaker/breaker.ts";
import type { Bulkhead } from "../resilience/concurrency/bulkhead.ts";
import type { Injection } from "../resilience/fault/fault-injector.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Upstream } from "./upstream.ts";

// A person compares a handful; all of them stand at /upstreams.
const ENDPOINTS_TOLD_MAX = 16;

export function concurrency(trace: DecisionLog, upstream: Upstream, bulkhead: Bulkhead, entered: "entered" | "waiting" | "full"): void {
	const { limit, active, pending } = bulkhead.view();
	const text = `${active} of ${limit} requests under way to ${upstream.name}, ${pending} waiting: ${entered}`;
	trace.add("concurrency", entered === "full" ? "no" : "yes", text, upstream.guards.policies.concurrency?.place, {
		brief: entered,
		limit,
		active,
		pending,
	});
}

export function breaker(trace: DecisionLog, { guards }: Upstream, asked: Breaker, permitted: boolean): void {
	const { state } = asked;
	const wait = permitted ? "" : `, tried again in ${Math.ceil(asked.retryAfterMs())} ms`;
	trace.add("breaker", permitted ? "yes" : "no", `circuit breaker is ${state}${wait}`, guards.policies.circuitBreaker?.trip.place, {
		brief: state,
		state,
	});
}

/** Each endpoint with what speaks for and against it. */
export function pick(trace: DecisionLog, upstream: Upstream, chosen: Endpoint | undefined, avoid: readonly Endpoint[], nowMs: number): void {
	const { loadBalancing } = upstream.options;
	const all = [...upstream.endpoints()];
	const candidates = all.slice(0, ENDPOINTS_TOLD_MAX).map((endpoint) => ({
		endpoint: endpoint.key,
		weight: endpoint.weight,
		health: endpoint.health,
		ejected: endpoint.outlier?.ejected === true,
		active: endpoint.activeRequests,
		avoided: avoid.includes(endpoint),
		...(endpoint.zone === undefined ? {} : { zone: endpoint.zone }),
		...(endpoint.latency === undefined ? {} : { latencyMs: Math.round(endpoint.latency.get(nowMs) * 1000) / 1000 }),
	}));
	const usable = all.filter((endpoint) => endpoint.usable).length;
	const panic = upstream.panic ? "; so few are usable that all are used (panic)" : "";
	const text = `${chosen === undefined ? "no endpoint" : chosen.key} by ${loadBalancing}, ${usable} of ${all.length} usable${panic}`;
	trace.add("pick", chosen === undefined ? "no" : "yes", text, undefined, { brief: chosen?.key ?? "none", candidates, panic: upstream.panic });
}

export function fault(trace: DecisionLog, { fault: { name, place }, end, delayMs, bytesPerSecond, truncateAfterBytes }: Injection): void {
	const parts: string[] = [];
	if (delayMs > 0) parts.push(`delay ${delayMs} ms`);
	if (end !== undefined) parts.push(typeof end === "number" ? `answer ${end}` : end);
	if (bytesPerSecond !== undefined) parts.push(`at most ${bytesPerSecond} bytes/s`);
	if (truncateAfterBytes !== undefined) parts.push(`cut after ${truncateAfterBytes} bytes`);
	trace.add("fault", "no", `fault ${name}: ${parts.join(", ")}`, place, { brief: name });
}
