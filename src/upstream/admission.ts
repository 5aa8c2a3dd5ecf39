/** Which endpoint a try goes to, and by whose permission: the breaker, then the balancer, then the endpoint's own breaker. */
import type { Clock } from "../core/clock.ts";
import type { Hash64 } from "../core/xxh64.ts";
import type { DecisionLog } from "../policy/decision-trace.ts";
import type { Breaker } from "../resilience/breaker/breaker.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Judgement } from "./judgement.ts";
import * as told from "./try-trace.ts";
import type { Upstream } from "./upstream.ts";

export interface AdmittedRequest {
	/** Name of the route: the key of breakers that are kept by route. */
	readonly route: string;
	readonly hash: Hash64 | undefined;
	readonly trace: DecisionLog | undefined;
}

/** The endpoint, whose permit `judgement` then owes; or the breaker that is open; or undefined where there is no endpoint at all. */
export function admit(
	upstream: Upstream,
	request: AdmittedRequest,
	avoid: readonly Endpoint[],
	judgement: Judgement,
	clock: Clock,
): Endpoint | Breaker | undefined {
	const { trace } = request;
	const breaker = upstream.guards.breakerBefore(request.route);
	if (breaker !== undefined && !permitted(upstream, breaker, judgement, trace)) return breaker;
	let passed = avoid;
	let failed = avoid;
	let open: Breaker | undefined;
	for (;;) {
		const endpoint = upstream.pick(passed, request.hash);
		if (trace !== undefined) told.pick(trace, upstream, endpoint, passed, clock.monotonicMs());
		if (endpoint === undefined) return open;
		if (endpoint.breaker === undefined || permitted(upstream, endpoint.breaker, judgement, trace)) return endpoint;
		// With breakers by endpoint, those whose breaker is open are passed over.
		open ??= endpoint.breaker;
		passed = [...passed, endpoint];
		if (upstream.other(passed) !== undefined) continue;
		if (failed.length === 0) return open;
		// What has failed this request is better than nobody.
		passed = passed.filter((one) => !failed.includes(one));
		failed = [];
		if (upstream.other(passed) === undefined) return open;
	}
}

function permitted(upstream: Upstream, breaker: Breaker, judgement: Judgement, trace: DecisionLog | undefined): boolean {
	const permit = judgement.permit(breaker);
	if (trace !== undefined) told.breaker(trace, upstream, breaker, permit);
	return permit;
}
