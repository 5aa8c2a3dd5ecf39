/** What a request must look like, of a route or a fault: typed configuration -> what the data plane compares. */
import { FrozenMap } from "./frozen-map.ts";
import type { MatchConfig, RequestMatchConfig } from "./schema-match.ts";
import type { RouteMatch } from "./snapshot.ts";

export function compileMatch(match: MatchConfig): RouteMatch {
	return { ...compileRequestMatch(match), from: match.from ?? [], percent: match.percent };
}

/** Whoever sends it, and all of them. */
export function compileRequestMatch({ host, path, method, methods, headers, query }: RequestMatchConfig): RouteMatch {
	return {
		host,
		path,
		methods: method === undefined ? (methods ?? []) : [method],
		headers: new FrozenMap(headers ?? []),
		query: new FrozenMap(query ?? []),
		from: [],
		percent: 100,
	};
}
