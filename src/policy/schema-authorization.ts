/** The keys of authorization: who may call this service, and for what. */

import { parseCaller, parseRulePath } from "./authorization-values.ts";
import { byDefault, flag, headerMatches, integer, list, name, oneOrMore, optional, required, text } from "./schema-values.ts";
import { choice, type Output, object } from "./shape.ts";
import { parseMethod } from "./values.ts";

// Everything in a policy is held in memory and compiled at once.
const RULES_MAX = 10_000;
const CALLERS_MAX = 1_000;
const PATHS_MAX = 100;
const METHODS_MAX = 32;
const PORTS_MAX = 32;

export const authorization = object({
	default: optional(
		choice(["allow", "deny"]),
		"What holds where no rule decides: `deny` where a rule that is no dry run allows something, else `allow`.",
	),
	rules: byDefault(
		list(
			object({
				name: required(name, "Unique; stands in logs, metrics, events and traces, never in an answer."),
				action: required(choice(["allow", "deny", "audit"]), "`deny` wins over every `allow`; `audit` decides nothing and tells what it fits."),
				from: optional(
					oneOrMore("service, `front*`, `*`, `spiffe://DOMAIN/*` or `unauthenticated`", parseCaller, CALLERS_MAX),
					"Callers by their verified identity; names are services of this mesh's trust domain. Without it: anybody, authenticated or not.",
				),
				methods: optional(list(text("method", parseMethod), { min: 1, max: METHODS_MAX }), "Methods, in capitals. Without it: every method."),
				paths: optional(
					oneOrMore("path pattern", parseRulePath, PATHS_MAX),
					"As `path` of routes. A request's path is compared in its normal form; where servers may read it in several ways, in each of them.",
				),
				headers: optional(
					headerMatches,
					"Headers, as in `match` of routes. For `allow` each line of a repeated field must hold, else one is enough.",
				),
				ports: optional(list(integer(1, 65_535), { min: 1, max: PORTS_MAX }), "Ports where the connection arrived. Without it: every port."),
				dryRun: byDefault(flag, false, "Whether the rule only counts whom it would have refused, and decides nothing."),
			}),
			{ max: RULES_MAX },
		),
		[],
		"All conditions of a rule must hold.",
	),
});

export type AuthorizationConfig = Output<typeof authorization>;
