/** Whether a fault's `match` fits a request: by the very predicates of routes. */
import type { Rng } from "../../core/rng.ts";
import { RouteTable } from "../../policy/route-table.ts";
import type { RouteMatch, RoutePolicy } from "../../policy/snapshot.ts";

/** An attempt as routes see a request. */
export interface FaultRequest {
	readonly method: string;
	/** As received: port and case do not matter. */
	readonly host: string;
	/** With the query. */
	readonly target: string;
	/** The value by its lower-case name. */
	header(name: string): string | undefined;
}

export type FaultMatch = (request: FaultRequest) => boolean;

const NO_CHANGES = Object.freeze({ set: [], add: [], remove: [] });

/** `source`: the service whose attempts these are, which `from` names; undefined: it is not compared. `rng` draws for the match's own `percent`. */
export function compileMatch(match: RouteMatch, source: string | undefined, rng: Rng): FaultMatch {
	const table = new RouteTable([pseudoRoute(match)], source);
	return (request) => {
		const draw = table.draws ? rng() : undefined;
		return table.match(request.host, request.target, request.method, (name) => request.header(name), draw) !== undefined;
	};
}

/** Nothing but its conditions: what it would do is never looked at. */
function pseudoRoute(match: RouteMatch): RoutePolicy {
	return {
		place: { file: "", line: 0, column: 0 },
		name: "",
		match,
		action: { kind: "forward", destinations: [], sticky: undefined },
		mirror: undefined,
		rewriteHost: undefined,
		rewritePath: undefined,
		requestHeaders: NO_CHANGES,
		responseHeaders: NO_CHANGES,
		overrides: { requestTimeoutMs: undefined, idleTimeoutMs: undefined, retry: undefined, rateLimits: [] },
	};
}
