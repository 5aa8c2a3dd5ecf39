/** Faults and requests as the tests of this room need them. */
import type { FaultAction, FaultPolicy } from "../../../src/policy/resilience-policy.ts";
import type { RouteMatch } from "../../../src/policy/snapshot.ts";
import type { FaultRequest } from "../../../src/resilience/fault/fault-injector.ts";

export function faultOf(action: FaultAction, more: Partial<FaultPolicy> = {}): FaultPolicy {
	return {
		place: undefined,
		name: action.kind,
		upstream: "payments",
		action,
		percent: 100,
		match: undefined,
		endpoints: [],
		endpointsMax: undefined,
		exempt: false,
		expiresAtMs: undefined,
		...more,
	};
}

export function matchOf(more: Partial<RouteMatch>): RouteMatch {
	return { host: undefined, path: undefined, methods: [], headers: new Map(), query: new Map(), from: [], percent: 100, ...more };
}

export function requestOf({
	headers = {},
	...more
}: Partial<Omit<FaultRequest, "header">> & { headers?: Record<string, string> } = {}): FaultRequest {
	return { method: "GET", host: "payments", target: "/pay/1?v=2", header: (name) => headers[name], ...more };
}
