/** Who may call this service, as a policy says it, part of the snapshot. Types only. */
import type { PathMatch, Place } from "./snapshot.ts";
import type { FieldMatch } from "./traffic-policy.ts";

/** `inbound.authorization`. A `deny` wins over every `allow`; of several rules with one action the first in file order is named. */
export interface AuthorizationPolicy {
	readonly place: Place;
	/** Where no rule decides. Default: `deny` where a rule that is not a dry run allows, else `allow`. */
	readonly default: "allow" | "deny";
	/** The same if the dry runs were none. */
	readonly dryRunDefault: "allow" | "deny";
	readonly rules: readonly AuthorizationRule[];
}

/** All conditions that are given must hold; an empty one holds always. */
export interface AuthorizationRule {
	readonly place: Place;
	/** Unique among the rules. Told to operators, never to callers. */
	readonly name: string;
	/** `audit` decides nothing: what it fits is told. */
	readonly action: "allow" | "deny" | "audit";
	/** Decides nothing; what it would have decided is counted and listed. */
	readonly dryRun: boolean;
	/** Any of them. Empty: anybody, authenticated or not. */
	readonly from: readonly CallerMatch[];
	/** Upper case, any of them. */
	readonly methods: readonly string[];
	/** Any of them, in the form in which paths are compared (path-readings.ts). */
	readonly paths: readonly PathMatch[];
	/** Names lower case; all of them. For `allow` every line of a field that came several times must hold, else one of them is enough. */
	readonly headers: ReadonlyMap<string, FieldMatch>;
	/** Where the connection arrived; any of them. */
	readonly ports: readonly number[];
}

/** Whom a rule means: nobody in particular, or those whose verified SPIFFE id fits. */
export type CallerMatch =
	| { readonly kind: "unauthenticated" }
	| {
			readonly kind: "identity";
			/** Undefined: the domain of this mesh. */
			readonly trustDomain: string | undefined;
			/** The path of the id without its first slash: `frontend`, `front*`, `ns/shop/*`. One `*` at most: the rest at the end, else a part of one segment. */
			readonly name: string;
	  };
