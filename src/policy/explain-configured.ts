/** What a policy would do to a request besides routing it, as far as the policy alone can tell: one decision for each rule that stands by. */
import { assertNever } from "../core/errors.ts";
import type { Decision, DecisionData, DecisionStage } from "./decision-trace.ts";
import { durationText } from "./duration-text.ts";
import type {
	CircuitBreakerPolicy,
	ConcurrencyPolicy,
	FaultPolicy,
	OutlierPolicy,
	RateLimitKeyPart,
	RateLimitPolicy,
	RetryBudgetPolicy,
	RetryPolicy,
	StatusRange,
} from "./resilience-policy.ts";
import type { EndpointsPolicy, InboundPolicy, Place, RoutePolicy, UpstreamPolicy } from "./snapshot.ts";
import type { HashKey } from "./traffic-policy.ts";

/** Towards an upstream, perhaps by a route: in the order of a request's life. */
export function upstreamDecisions(upstream: UpstreamPolicy, route: RoutePolicy | undefined): Decision[] {
	const { retry, retryBudget, outlierDetection } = upstream;
	const overriding = route?.overrides.retry;
	return [
		...upstream.rateLimits.map(limitDecision),
		...timeoutDecisions(upstream, route),
		...breakerDecisions(upstream),
		standing("pick", pickText(upstream), placeOf(upstream, "loadBalancing"), { kind: upstream.loadBalancing }),
		standing("pick", outlierText(outlierDetection), sectionPlace(upstream, "outlierDetection", outlierDetection.place)),
		...upstream.faults.map(faultDecision),
		...retryDecisions(overriding ?? retry, overriding === undefined ? sectionPlace(upstream, "retry", retry.place) : overriding.place),
		...(isRetried(overriding ?? retry) ? [standing("retry", budgetText(retryBudget), sectionPlace(upstream, "retry.budget", retry.place))] : []),
	];
}

/** What a route adds, wherever it leads. */
export function routeDecisions(route: RoutePolicy | undefined): Decision[] {
	return [...(route?.overrides.rateLimits ?? []).map(limitDecision), ...mirrorDecisions(route)];
}

/** Towards the application. */
export function applicationDecisions(inbound: InboundPolicy): Decision[] {
	return [...inbound.rateLimits.map(limitDecision), ...timeoutDecisions(inbound, undefined), ...breakerDecisions(inbound)];
}

export function note(stage: DecisionStage, text: string, place: Place | undefined, data?: DecisionData): Decision {
	return { stage, verdict: "note", atMs: 0, text, place, data };
}

const SOURCES = { dns: "DNS name", file: "file", registry: "service" } as const;

type Guarded = Pick<UpstreamPolicy, "place" | "places" | "timeout" | "circuitBreaker" | "concurrency">;

/** The line that says so; undefined where none does. */
function placeOf({ places }: Pick<Guarded, "places">, key: string): Place | undefined {
	return places?.get(key);
}

/** The line of a section of which anything is written, be it in the upstream or in `policies`. */
function sectionPlace({ places }: Pick<Guarded, "places">, section: string, place: Place): Place | undefined {
	if (places === undefined) return place;
	for (const [key, written] of places) if (key.startsWith(`${section}.`)) return section.includes(".") ? written : place;
	return undefined;
}

/** A rule that holds by default where no line says so. */
function standing(stage: DecisionStage, text: string, place: Place | undefined, data?: DecisionData): Decision {
	return note(stage, place === undefined ? `${text} (default)` : text, place, data);
}

function limitDecision({ name, requestsPerSecond, burst, key, overflow, shared, place }: RateLimitPolicy): Decision {
	const each = key.map(keyText).filter((part) => part !== "");
	const per = each.length === 0 ? "" : ` for each ${each.join(" and ")}`;
	const over =
		overflow.kind === "reject" ? "429" : `up to ${overflow.queuedMax} wait up to ${durationText(overflow.waitMaxMs)}, further ones get 429`;
	const where = shared === undefined ? "" : `, counted together with other sidecars; without Redis: ${shared.onFailure}`;
	return note("limit", `limit ${name}: ${requestsPerSecond} requests/s${per}, ${burst} at once; over it ${over}${where}`, place, { name });
}

function keyText(part: RateLimitKeyPart): string {
	switch (part.kind) {
		case "caller":
		case "route":
			return part.kind;
		case "ip":
			return "address";
		case "header":
			return `value of ${part.name}`;
		case "global":
			return "";
		default:
			return assertNever(part);
	}
}

function mirrorDecisions(route: RoutePolicy | undefined): Decision[] {
	const mirror = route?.mirror;
	if (mirror === undefined) return [];
	return [note("mirror", `${percentText(mirror.percent)} of the requests are copied to ${mirror.to}; nobody waits for the answer`, mirror.place)];
}

function timeoutDecisions(guarded: Guarded, route: RoutePolicy | undefined): Decision[] {
	const { requestMs, connectMs, idleMs } = guarded.timeout;
	const { requestTimeoutMs, idleTimeoutMs } = route?.overrides ?? {};
	const one = (key: string, overriding: number | undefined, ms: number, what: string) => {
		const place = overriding === undefined ? placeOf(guarded, `timeout.${key}`) : route?.place;
		return standing("deadline", `${durationText(overriding ?? ms)} ${what}`, place, { timeout: key, ms: overriding ?? ms });
	};
	return [
		one("request", requestTimeoutMs, requestMs, "for the whole exchange, all tries included"),
		one("connect", undefined, connectMs, "for a connection"),
		one("idle", idleTimeoutMs, idleMs, "of silence inside an answer's body"),
	];
}

function breakerDecisions({ circuitBreaker: breaker, concurrency }: Guarded): Decision[] {
	const decisions: Decision[] = [];
	if (concurrency !== undefined) decisions.push(note("concurrency", concurrencyText(concurrency), concurrency.place));
	if (breaker === undefined) return [...decisions, note("breaker", "no circuit breaker", undefined)];
	decisions.push(note("breaker", breakerText(breaker), breaker.trip.place, { scope: breaker.scope }));
	const { fallback, place } = breaker;
	if (fallback?.kind === "failover")
		decisions.push(note("breaker", `while it is open, ${fallback.upstreams.join(", then ")} is asked instead`, place));
	if (fallback?.kind === "respond") decisions.push(note("breaker", `while it is open, the answer is ${fallback.respond.status}`, place));
	return decisions;
}

function concurrencyText({ kind, limitMin, limitMax, pendingMax, pendingTimeoutMs }: ConcurrencyPolicy): string {
	const limit = kind === "fixed" ? `at most ${limitMax} requests` : `at most ${limitMin} to ${limitMax} requests, by latency,`;
	return `${limit} under way; ${pendingMax} more wait up to ${durationText(pendingTimeoutMs)}`;
}

const SCOPES: Readonly<Record<CircuitBreakerPolicy["scope"], string>> = {
	upstream: "one breaker",
	endpoint: "a breaker for each endpoint",
	route: "a breaker for each route",
};

function breakerText({ scope, trip, openForMs, maxOpenForMs, successThreshold, failureStatuses }: CircuitBreakerPolicy): string {
	const { consecutiveFailures, failureRate, slowCallRate, slowCallMs, windowMs, minRequests } = trip;
	const window = `of at least ${minRequests} requests in ${durationText(windowMs)}`;
	const causes: string[] = [];
	if (consecutiveFailures !== undefined) causes.push(`after ${consecutiveFailures} failures in a row`);
	if (failureRate !== undefined) causes.push(`when ${percentText(failureRate * 100)} ${window} fail`);
	if (slowCallRate !== undefined) causes.push(`when ${percentText(slowCallRate * 100)} ${window} take longer than ${durationText(slowCallMs)}`);
	const time = maxOpenForMs > openForMs ? `${durationText(openForMs)} to ${durationText(maxOpenForMs)}` : durationText(openForMs);
	const opens = `${SCOPES[scope]} opens ${causes.join(", or ")} (failures to reach it, and ${statusesText(failureStatuses)})`;
	return `${opens}, for ${time}, and closes after ${successThreshold} successes`;
}

function pickText({ loadBalancing, balancing, endpoints }: UpstreamPolicy): string {
	const { hashOn, zoneAware, panicThreshold, slowStart } = balancing;
	let text = `${loadBalancing} among ${endpointsText(endpoints)}`;
	if (hashOn !== undefined) text += ` by ${hashKeyText(hashOn)}`;
	if (zoneAware) text += ", those of the same zone first";
	if (slowStart !== undefined) text += `, new ones slowly over ${durationText(slowStart.windowMs)}`;
	return panicThreshold === 0 ? text : `${text}; all of them when fewer than ${percentText(panicThreshold)} are usable`;
}

function endpointsText(endpoints: EndpointsPolicy): string {
	if (endpoints.kind !== "static") return `the endpoints of its ${SOURCES[endpoints.kind]}`;
	return endpoints.endpoints.length === 1 ? "one endpoint" : `${endpoints.endpoints.length} endpoints`;
}

export function hashKeyText(key: HashKey): string {
	switch (key.kind) {
		case "header":
		case "cookie":
			return `${key.kind} ${key.name}`;
		case "ip":
			return "address of the client";
		case "path":
			return "path";
		default:
			return assertNever(key);
	}
}

function outlierText(policy: OutlierPolicy): string {
	if (!policy.enabled) return "no endpoint is ejected";
	const causes: string[] = [];
	const inARow = (count: number, what: string) => count > 0 && causes.push(`after ${count} ${what} in a row`);
	inARow(policy.consecutiveFailures, "failures");
	inARow(policy.consecutiveGatewayFailures, "gateway failures");
	inARow(policy.consecutiveLocalOriginFailures, "failures to reach it");
	if (policy.successRate !== undefined)
		causes.push(`when it succeeds ${policy.successRate.stdevFactor} standard deviations less often than the others`);
	if (policy.failurePercentage !== undefined) causes.push(`when ${percentText(policy.failurePercentage.threshold)} of its requests fail`);
	if (causes.length === 0) return "no endpoint is ejected: every cause is off";
	return `an endpoint is ejected for ${durationText(policy.baseEjectionTimeMs)} and longer ${causes.join(", or ")}; at most ${percentText(policy.maxEjectionPercent)} of them`;
}

function faultDecision({ name, action, percent, endpoints, exempt, place }: FaultPolicy): Decision {
	const where = endpoints.length === 0 ? "" : ` to ${endpoints.join(", ")}`;
	const told = exempt ? "; breaker and ejection look away" : "";
	return note("fault", `fault ${name}: ${faultText({ action })} for ${percentText(percent)} of the attempts${where}${told}`, place, {
		name,
		percent,
	});
}

function faultText({ action }: Pick<FaultPolicy, "action">): string {
	switch (action.kind) {
		case "abort":
			return `status ${action.status}`;
		case "delay":
			return action.distribution === "fixed"
				? `a delay of ${durationText(action.ms)}`
				: `a delay (${action.distribution}) of ${durationText(action.ms)}, at most ${durationText(action.msMax)}`;
		case "reset":
			return "a reset";
		case "refuse":
			return "a refused connection";
		case "black-hole":
			return "no answer at all";
		case "throttle":
			return `${action.bytesPerSecond} bytes/s`;
		case "truncate":
			return `an answer that ends after ${action.afterBytes} bytes`;
		default:
			return assertNever(action);
	}
}

function isRetried({ attempts, hedge }: RetryPolicy): boolean {
	return attempts > 0 || hedge !== undefined;
}

function retryDecisions(retry: RetryPolicy, place: Place | undefined): Decision[] {
	const { attempts, hedge } = retry;
	if (attempts === 0 && hedge === undefined) return [note("retry", "no further tries", place)];
	const decisions = [standing("retry", retryText(retry), place, { attempts })];
	if (hedge === undefined) return decisions;
	const { after, maxExtra } = hedge;
	const silence = after.kind === "time" ? durationText(after.ms) : `the time that ${percentText(after.quantile * 100)} of the answers take`;
	const text = `a second try goes out when the first has been silent for ${silence}, for at most ${percentText(maxExtra * 100)} of the requests`;
	return [...decisions, note("hedge", text, hedge.place)];
}

function retryText({ attempts, on, perTryTimeoutMs, backoff }: RetryPolicy): string {
	const causes = [
		...(on.connectFailure ? ["connect-failure"] : []),
		...(on.reset ? ["reset"] : []),
		...(on.perTryTimeout ? ["per-try-timeout"] : []),
		...(on.statuses.length === 0 ? [] : [statusesText(on.statuses)]),
	];
	const perTry = perTryTimeoutMs === undefined ? "" : `, each up to ${durationText(perTryTimeoutMs)}`;
	const wait = `${durationText(backoff.baseMs)} to ${durationText(backoff.maxMs)}`;
	return `up to ${attempts} more tries on ${causes.join(", ")}${perTry}, after a random part of ${wait}`;
}

function budgetText({ ratio, minPerSecond, windowMs }: RetryBudgetPolicy): string {
	return `further tries may add ${percentText(ratio * 100)} to the load and ${minPerSecond} a second, over ${durationText(windowMs)}`;
}

function statusesText(ranges: readonly StatusRange[]): string {
	const one = ({ from, to }: StatusRange) =>
		from === to ? String(from) : from % 100 === 0 && to === from + 99 ? `${from / 100}xx` : `${from}-${to}`;
	return ranges.map(one).join(", ");
}

/** `12.5 %`, without digits that say nothing. */
export function percentText(percent: number): string {
	return `${Number(percent.toFixed(2))} %`;
}
