/** The keys of traffic policy: where a request goes, what is changed on the way, and what is answered here. */

import { DEFAULTS } from "./defaults.ts";
import { parseChangedField, parseHashKey, parsePlainPath } from "./resilience-values.ts";
import { match, respond } from "./schema-match.ts";
import { rateLimits, routeRetry } from "./schema-resilience.ts";
import { byDefault, changedHeaders, duration, flag, integer, list, name, optional, percent, required, text } from "./schema-values.ts";
import { choice, type Output, object } from "./shape.ts";
import { parseAuthority } from "./values.ts";

const DESTINATIONS_MAX = 100;
const HEADERS_MAX = 64;

const host = text("host", parseAuthority);
const path = text("path", parsePlainPath, "^/");

export const hashKey = text("`header:NAME`, `cookie:NAME`, `ip` or `path`", parseHashKey, "^(ip|path|header:.+|cookie:.+)$");

const headerChanges = object({
	set: byDefault(changedHeaders, {}, "Fields with their value, whatever they had before."),
	add: byDefault(changedHeaders, {}, "Fields that are added to those that are there."),
	remove: byDefault(list(text("header name", parseChangedField), { max: HEADERS_MAX }), [], "Fields that are taken away."),
});

export const route = object({
	name: required(name, "Unique; stands in logs, metrics and events."),
	match: byDefault(match, {}, "All conditions that are given must hold."),
	to: optional(name, "Name of an upstream of this policy. Exactly one of `to`, `split`, `redirect` and `respond` is given."),
	split: optional(
		list(
			object({
				to: required(name, "Name of an upstream of this policy."),
				weight: byDefault(integer(0, 1_000_000), DEFAULTS.splitWeight, "Share of the requests, relative to the others; 0: none."),
			}),
			{ min: 1, max: DESTINATIONS_MAX },
		),
		"Several upstreams, by weight.",
	),
	sticky: optional(hashKey, "With `split`: requests with the same key go to the same upstream while the weights stay."),
	redirect: optional(
		object({
			status: byDefault(choice([301, 302, 303, 307, 308]), DEFAULTS.redirectStatus, "Status of the answer."),
			scheme: optional(choice(["http", "https"]), "Scheme of the new location; otherwise as it came."),
			host: optional(host, "Host of the new location, with its port if any; otherwise as it came."),
			path: optional(path, "Path of the new location, as in `rewrite`; the query stays. Otherwise as it came."),
		}),
		"The client is sent elsewhere.",
	),
	respond: optional(respond, "The request is answered here."),
	mirror: optional(
		object({
			to: required(name, "Name of an upstream of this policy."),
			percent: byDefault(percent, DEFAULTS.mirrorPercent, "Percentage of the requests that are copied, 0 to 100."),
		}),
		"A copy of the request, whose answer nobody waits for.",
	),
	rewrite: optional(
		object({
			host: optional(host, "Replaces the Host field towards the upstream."),
			path: optional(path, "Replaces the path; behind `/a/**` only what stands before the `**`. The query stays."),
		}),
		"What is changed on the way; by default nothing.",
	),
	headers: optional(
		object({
			request: optional(headerChanges, "Of the request, before it is sent on."),
			response: optional(headerChanges, "Of the answer, before it is given back."),
		}),
		"Header fields that are changed: removed, then set, then added. Neither framing nor what the mesh itself says.",
	),
	timeout: optional(
		object({
			request: optional(duration, "The whole exchange, all tries included."),
			idle: optional(duration, "Longest silence inside an answer's body."),
		}),
		"In place of the upstream's, for this route.",
	),
	retry: optional(
		routeRetry,
		"In place of the upstream's `retry`, for this route; what it does not say has its default. The budget stays the upstream's.",
	),
	rateLimits: byDefault(rateLimits, [], "Besides those of the upstream."),
});

const BALANCING = DEFAULTS.balancing;

/** What balancing of any kind may be told besides. */
export const balancingKeys = {
	hashOn: optional(hashKey, "What `ring-hash` and `maglev` hash; without it they choose at random."),
	ringSize: byDefault(integer(1, 1_048_576), BALANCING.ringSize, "Least entries of the ring (`ring-hash`)."),
	tableSize: byDefault(integer(2, 5_000_011), BALANCING.tableSize, "Entries of the table (`maglev`), a prime."),
	failurePenalty: byDefault(duration, BALANCING.failurePenalty, "Latency that a failure or a 429 counts as (`peak-ewma`)."),
	slowStart: optional(
		object({
			window: required(duration, "How long a new endpoint takes to its full weight."),
			aggression: byDefault(integer(1, 100), BALANCING.slowStart.aggression, "1: evenly; more: faster at first."),
			minWeightPercent: byDefault(percent, BALANCING.slowStart.minWeightPercent, "Percentage of its weight that it begins with."),
		}),
		"New endpoints come up to their weight slowly; without it at once.",
	),
	zoneAware: byDefault(flag, BALANCING.zoneAware, "Whether endpoints of the sidecar's own `zone` are preferred while there are enough of them."),
	panicThreshold: byDefault(percent, BALANCING.panicThreshold, "With fewer usable endpoints than this percentage, all are used; 0: never."),
};

export type RouteConfig = Output<typeof route>;
export type HeaderChangesConfig = Output<typeof headerChanges>;
