/** Routes and balancing: typed configuration -> what the data plane runs. Nothing can fail here any more. */
import { compileMatch } from "./compile-match.ts";
import { compileRateLimits, compileRespond, compileRetry } from "./compile-resilience.ts";
import type { Places } from "./places.ts";
import type { HeaderChangesConfig, RouteConfig } from "./schema-traffic.ts";
import type { UpstreamConfig } from "./schema-upstream.ts";
import type { BalancingPolicy, RoutePolicy } from "./snapshot.ts";
import type { HeaderChanges, RouteAction } from "./traffic-policy.ts";
import type { Path } from "./tree.ts";

export function compileRoute(route: RouteConfig, path: Path, places: Places): RoutePolicy {
	const { mirror, rewrite, headers, timeout, retry } = route;
	return {
		place: places.of(path),
		name: route.name,
		match: compileMatch(route.match),
		action: compileAction(route),
		mirror: mirror && { place: places.of([...path, "mirror"]), to: mirror.to, percent: mirror.percent },
		rewriteHost: rewrite?.host,
		rewritePath: rewrite?.path,
		requestHeaders: compileChanges(headers?.request),
		responseHeaders: compileChanges(headers?.response),
		overrides: {
			requestTimeoutMs: timeout?.request,
			idleTimeoutMs: timeout?.idle,
			retry: retry && compileRetry(retry, [...path, "retry"], places),
			rateLimits: compileRateLimits(route.rateLimits, [...path, "rateLimits"], places),
		},
	};
}

function compileAction({ to, split, sticky, redirect, respond }: RouteConfig): RouteAction {
	if (redirect !== undefined) {
		const { status, scheme, host, path } = redirect;
		return { kind: "redirect", redirect: { status, scheme, host, path } };
	}
	if (respond !== undefined) return { kind: "respond", respond: compileRespond(respond) };
	const destinations = to === undefined ? (split ?? []) : [{ to, weight: 1 }];
	return { kind: "forward", destinations, sticky };
}

const UNCHANGED: HeaderChanges = Object.freeze({ set: Object.freeze([]), add: Object.freeze([]), remove: Object.freeze([]) });

function compileChanges(changes: HeaderChangesConfig | undefined): HeaderChanges {
	if (changes === undefined) return UNCHANGED;
	const values = (fields: ReadonlyMap<string, string>) => [...fields].map(([name, value]) => ({ name, value }));
	return { set: values(changes.set), add: values(changes.add), remove: changes.remove };
}

type BalancingConfig = Pick<UpstreamConfig, "hashOn" | "ringSize" | "tableSize" | "failurePenalty" | "slowStart" | "zoneAware" | "panicThreshold">;

export function compileBalancing(config: BalancingConfig): BalancingPolicy {
	const { hashOn, ringSize, tableSize, failurePenalty, slowStart, zoneAware, panicThreshold } = config;
	return {
		hashOn,
		ringSizeMin: ringSize,
		tableSize,
		failurePenaltyMs: failurePenalty,
		slowStart: slowStart && { windowMs: slowStart.window, aggression: slowStart.aggression, minWeightPercent: slowStart.minWeightPercent },
		zoneAware,
		panicThreshold,
	};
}
