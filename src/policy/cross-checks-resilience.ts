/** What no single key of resilience can tell: what excludes what, and what would never act. */
import { addressText } from "./address-text.ts";
import type { Report } from "./cross-checks.ts";
import { DEFAULTS } from "./defaults.ts";
import { isRefusal } from "./fault.ts";
import { nearest } from "./nearest.ts";
import { durationMs, list, type Mapping, mapping, numeric, text, texts } from "./plain.ts";
import type { Path } from "./tree.ts";
import { parseAddress } from "./values.ts";

export function checkKnownUpstream(to: unknown, upstreams: Mapping, path: Path, report: Report): void {
	const name = typeof to === "string" ? text(to) : undefined;
	if (name === undefined || Object.hasOwn(upstreams, name)) return;
	const meant = nearest(name, Object.keys(upstreams));
	report(path, "value", `there is no upstream named \`${name}\``, meant === undefined ? "add it under `upstreams`" : `did you mean \`${meant}\`?`);
}

const RATE_ONLY = ["window", "minRequests"];
const TRIP_ONLY = [
	"scope",
	"successThreshold",
	"openFor",
	"maxOpenFor",
	"jitter",
	"halfOpenMaxConcurrent",
	"failureStatuses",
	"failover",
	"respond",
] as const;

/** `name` is the upstream's, undefined for the application behind `inbound`. */
export function checkCircuitBreaker(breaker: Mapping | undefined, name: string | undefined, upstreams: Mapping, path: Path, report: Report): void {
	if (breaker === undefined) return;
	const at = (key: string) => [...path, key];
	checkTrip(breaker, path, report);
	if (name === undefined) {
		const why = "there is one application and nothing beside it: remove it";
		for (const key of ["scope", "failover"]) if (breaker[key] !== undefined) report(at(key), "key", `\`${key}\` does not act under \`inbound\``, why);
	} else checkFailover(breaker, name, upstreams, at("failover"), report);
	if (breaker.failover !== undefined && breaker.respond !== undefined) {
		report(at("respond"), "key", "`failover` and `respond` are both given", "keep one of them");
	}
	checkRespond(mapping(breaker.respond), at("respond"), report);
	const openMs = durationMs(breaker.openFor ?? DEFAULTS.circuitBreaker.openFor);
	if (isLess(durationMs(breaker.maxOpenFor), openMs)) {
		report(at("maxOpenFor"), "value", "`maxOpenFor` is shorter than `openFor`", "the time only grows: raise it, or remove it");
	}
	checkConcurrency(breaker, path, report);
}

function checkTrip(breaker: Mapping, path: Path, report: Report): void {
	const { failureThreshold, failureRate, slowCallRate } = breaker;
	const rated = failureRate !== undefined || slowCallRate !== undefined;
	if (numeric(failureThreshold) === 0 && !rated) {
		for (const key of TRIP_ONLY) {
			if (breaker[key] !== undefined) {
				report([...path, key], "key", `\`${key}\` does not act: nothing opens this breaker`, "raise `failureThreshold`, or give a rate");
			}
		}
	}
	for (const key of RATE_ONLY) {
		if (breaker[key] !== undefined && !rated) {
			report([...path, key], "key", `\`${key}\` does not act without a rate`, "add `failureRate` or `slowCallRate`, or remove it");
		}
	}
	if (breaker.slowCallDuration !== undefined && slowCallRate === undefined) {
		report([...path, "slowCallDuration"], "key", "`slowCallDuration` does not act without `slowCallRate`", "add it, or remove this");
	}
}

function checkFailover(breaker: Mapping, name: string, upstreams: Mapping, path: Path, report: Report): void {
	list(breaker.failover).forEach((to, i) => {
		checkKnownUpstream(to, upstreams, [...path, i], report);
		if (to === name) report([...path, i], "value", "an upstream cannot stand in for itself", "name another one");
		else if (typeof to === "string" && leadsTo(to, name, upstreams)) {
			const hint = "requests would go in circles while both are open: remove one direction";
			report([...path, i], "value", `\`${to}\` fails over to \`${name}\` in turn`, hint);
		}
	});
}

/** Whether the failovers of `from`, and theirs, lead to `goal`. */
function leadsTo(from: string, goal: string, upstreams: Mapping): boolean {
	const seen = new Set<string>();
	const open = [from];
	for (let next = open.pop(); next !== undefined; next = open.pop()) {
		if (next === goal) return true;
		if (seen.has(next) || !Object.hasOwn(upstreams, next)) continue;
		seen.add(next);
		open.push(...texts(mapping(mapping(upstreams[next])?.circuitBreaker)?.failover));
	}
	return false;
}

function checkConcurrency(breaker: Mapping, path: Path, report: Report): void {
	const { minConcurrent, maxConcurrent } = breaker;
	if (minConcurrent === undefined) return;
	const at = [...path, "minConcurrent"];
	if (text(breaker.concurrency) !== "adaptive") {
		report(at, "key", "`minConcurrent` does not act with a fixed limit", "add `concurrency: adaptive`, or remove it");
	} else if (isLess(numeric(maxConcurrent ?? DEFAULTS.circuitBreaker.maxConcurrent), numeric(minConcurrent))) {
		report(at, "value", "`minConcurrent` is more than `maxConcurrent`", "lower it");
	}
}

/** RFC 9110 sections 15.3.5 and 15.4.5: these end with their head. */
export function checkRespond(respond: Mapping | undefined, path: Path, report: Report): void {
	const status = numeric(respond?.status);
	if (status !== 204 && status !== 205 && status !== 304) return;
	if (respond?.body !== undefined && respond.body !== "") report([...path, "body"], "key", `an answer ${status} has no body`, "remove it");
}

export function checkOutlier(outlier: Mapping | undefined, path: Path, report: Report): void {
	if (outlier === undefined) return;
	const base = durationMs(outlier.baseEjectionTime ?? DEFAULTS.outlierDetection.baseEjectionTime);
	const most = durationMs(outlier.maxEjectionTime ?? DEFAULTS.outlierDetection.maxEjectionTime);
	if (!isLess(most, base)) return;
	const key = outlier.maxEjectionTime === undefined ? "baseEjectionTime" : "maxEjectionTime";
	report([...path, key], "value", "the longest ejection is shorter than the first one", "raise `maxEjectionTime`");
}

/** `requestMs` is the time that all tries have. */
export function checkRetry(retry: Mapping | undefined, requestMs: number | undefined, path: Path, report: Report): void {
	if (retry === undefined) return;
	const perTryMs = durationMs(retry.perTryTimeout);
	if (isLess(requestMs, perTryMs)) {
		report([...path, "perTryTimeout"], "value", "one try may take longer than all of them", "lower it below `timeout.request`, or raise that");
	}
	const backoff = mapping(retry.backoff);
	if (isLess(durationMs(backoff?.max ?? DEFAULTS.retry.backoff.max), durationMs(backoff?.base ?? DEFAULTS.retry.backoff.base))) {
		const key = backoff?.max === undefined ? "base" : "max";
		report([...path, "backoff", key], "value", "the longest wait is shorter than the first one", "raise `backoff.max`");
	}
	const hedge = mapping(retry.hedge);
	const waitMs = durationMs(hedge?.after);
	const endMs = Math.min(perTryMs ?? Number.POSITIVE_INFINITY, requestMs ?? Number.POSITIVE_INFINITY);
	if (waitMs !== undefined && waitMs >= endMs) {
		report([...path, "hedge", "after"], "value", "the hedge would never be sent: the first try has ended by then", "wait less long");
	}
}

const QUEUE_ONLY = ["maxQueued", "maxWait", "priorityHeader"];

export function checkRateLimits(limits: readonly unknown[], path: Path, report: Report): void {
	const seen = new Set<string>();
	limits.forEach((item, i) => {
		const limit = mapping(item as never);
		if (limit === undefined) return;
		const at = [...path, i];
		const name = text(limit.name);
		if (name !== undefined && seen.has(name))
			report([...at, "name"], "value", `a limit named \`${name}\` stands above already`, "names of limits are unique");
		if (name !== undefined) seen.add(name);
		for (const key of QUEUE_ONLY) {
			if (limit[key] === undefined || limit.overflow === "queue") continue;
			report([...at, key], "key", `\`${key}\` does not act without \`overflow: queue\``, "add it, or remove this");
		}
		checkKey(texts(limit.key), [...at, "key"], report);
		checkSlice(limit, at, report);
	});
}

function checkKey(parts: readonly string[], path: Path, report: Report): void {
	if (parts.length > 1 && parts.includes("global")) report(path, "value", "`global` tells nothing apart beside others", "remove it");
	if (new Set(parts).size < parts.length) report(path, "value", "a part of the key stands here twice", "remove one");
}

/** A lease larger than the bucket could never be had. */
function checkSlice(limit: Mapping, path: Path, report: Report): void {
	const shared = mapping(limit.shared);
	const rate = numeric(limit.requestsPerSecond);
	const burst = numeric(limit.burst);
	const sliceMs = durationMs(shared?.slice ?? DEFAULTS.rateLimit.shared.slice);
	if (shared === undefined || rate === undefined || burst === undefined || sliceMs === undefined || (rate * sliceMs) / 1_000 <= burst) return;
	const hint = "sidecars lease a slice at a time: raise `burst`, or shorten `shared.slice`";
	report([...path, "burst"], "value", "`burst` is less than what flows in one slice", hint);
}

const FAULT_KINDS = ["abort", "delay", "reset", "refuse", "blackHole", "throttle", "truncate"];

/** `endpoints` are those of a list; undefined where they come from elsewhere. */
export function checkFault(fault: Mapping, endpoints: readonly string[] | undefined, path: Path, report: Report): void {
	if (FAULT_KINDS.every((kind) => fault[kind] === undefined)) {
		report(path, "key", "the fault does nothing", `give one of ${FAULT_KINDS.join(", ")}`);
	}
	if (fault.for !== undefined && fault.expiresAt !== undefined)
		report([...path, "expiresAt"], "key", "`for` and `expiresAt` are both given", "keep one of them");
	const delay = mapping(fault.delay);
	if (delay?.max !== undefined) {
		const at = [...path, "delay", "max"];
		const drawn = delay.distribution !== undefined && delay.distribution !== "fixed";
		// With a fixed delay it is a bound that says nothing new, unless it contradicts.
		if (isLess(durationMs(delay.max), durationMs(delay.duration)))
			report(at, "value", "`max` is shorter than the delay itself", drawn ? "raise it" : "raise or remove it");
	}
	checkMethods(mapping(fault.match), [...path, "match"], report);
	list(fault.endpoints).forEach((item, i) => {
		const parsed = parseAddress(text(item) ?? "");
		const address = isRefusal(parsed) ? undefined : addressText(parsed);
		if (address === undefined || endpoints === undefined || endpoints.includes(address)) return;
		const meant = nearest(address, endpoints);
		report(
			[...path, "endpoints", i],
			"value",
			`\`${address}\` is no endpoint of this upstream`,
			meant === undefined ? "write it as it stands there" : `did you mean \`${meant}\`?`,
		);
	});
}

export function checkMethods(match: Mapping | undefined, path: Path, report: Report): void {
	if (match?.method === undefined || match.methods === undefined) return;
	report([...path, "method"], "key", "`method` and `methods` are both given", "keep one of them");
}

function isLess(a: number | undefined, b: number | undefined): boolean {
	return a !== undefined && b !== undefined && a < b;
}
