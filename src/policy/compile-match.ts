/** What a request must look like, of a route or a fault: typed configuration -> what the data plane compares. */
import { FrozenMap } from "./frozen-map.ts";
import type { MatchConfig } from "./schema-match.ts";
import type { RouteMatch } from "./snapshot.ts";

export function compileMatch({ host, path, method, methods, headers, query, from, percent }: MatchConfig): RouteMatch {
	return {
		host,
		path,
		methods: method === undefined ? (methods ?? []) : [method],
		headers: new FrozenMap(headers ?? []),
		query: new FrozenMap(query ?? []),
		from: from ?? [],
		percent,
	};
}
