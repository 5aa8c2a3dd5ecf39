/** What a route may do besides naming an upstream, part of the snapshot. Types only. */
import type { RateLimitPolicy, RetryPolicy, StaticResponse } from "./resilience-policy.ts";
import type { Place } from "./snapshot.ts";

/** How one header or query parameter must look. */
export type FieldMatch = { readonly kind: "exact" | "prefix"; readonly value: string } | { readonly kind: "present" | "absent" };

/** What a request is told apart by, for stickiness and hashing. */
export type HashKey =
	| { readonly kind: "header" /** Lower case. */; readonly name: string }
	| { readonly kind: "cookie"; readonly name: string }
	| { readonly kind: "ip" | "path" };

export type RouteAction =
	| {
			readonly kind: "forward";
			/** One for `to`, several for `split`; names of upstreams, checked to exist; weights 0..1,000,000, not all 0. */
			readonly destinations: readonly { readonly to: string; readonly weight: number }[];
			/** The same key goes to the same destination while the weights stay. */
			readonly sticky: HashKey | undefined;
	  }
	| { readonly kind: "redirect"; readonly redirect: RedirectPolicy }
	| { readonly kind: "respond"; readonly respond: StaticResponse };

export interface RedirectPolicy {
	/** 301, 302, 303, 307 or 308. Default 307, which keeps the method. */
	readonly status: number;
	/** Undefined parts stay as they came. */
	readonly scheme: "http" | "https" | undefined;
	/** With its port, if any. */
	readonly host: string | undefined;
	/** As `rewritePath` of a route: behind `/a/**` only what stands before the `**`; the query stays. */
	readonly path: string | undefined;
}

/** A copy of some requests, fire and forget. */
export interface MirrorPolicy {
	readonly place: Place;
	readonly to: string;
	/** 0..100 */
	readonly percent: number;
}

/** Never hop-by-hop fields, framing, Host, or what the mesh sets. Names lower case; applied as remove, set, add. */
export interface HeaderChanges {
	readonly set: readonly HeaderValue[];
	readonly add: readonly HeaderValue[];
	readonly remove: readonly string[];
}

export interface HeaderValue {
	readonly name: string;
	readonly value: string;
}

/** Of the upstream's policy, for this route only. */
export interface RouteOverrides {
	readonly requestTimeoutMs: number | undefined;
	readonly idleTimeoutMs: number | undefined;
	readonly retry: RetryPolicy | undefined;
	/** In addition to those of the upstream. */
	readonly rateLimits: readonly RateLimitPolicy[];
}
