/** The keys by which a request is recognised, and those of an answer that is given here: shared by routes, faults and breakers. */

import { DEFAULTS } from "./defaults.ts";
import type { Refusal } from "./fault.ts";
import { parsePathMatch } from "./path-pattern.ts";
import { byDefault, headerMatches, integer, list, oneOrMore, optional, percent, queryMatches, text } from "./schema-values.ts";
import { type Output, object } from "./shape.ts";
import { parseFieldValue, parseHostPattern, parseMethod, parseName } from "./values.ts";

// Also the bound of what one breaker or route keeps in memory for its answer.
const BODY_CHARS_MAX = 64 * 1024;

const method = text("method", parseMethod);

/** Which requests a route takes, or a fault touches. */
export const match = object({
	host: optional(text("host pattern", parseHostPattern), "Host without its port: a name, or `*.suffix`. Without it: every host."),
	path: optional(
		text("path pattern", parsePathMatch, "^/"),
		"`/a/b` exactly; `/a/**` for /a and all below; `*` for any part of one segment, `**` for any number of segments.",
	),
	method: optional(method, "One method; `methods` takes several."),
	methods: optional(list(method, { min: 1, max: 32 }), "Methods, in capitals. Without it: every method."),
	headers: optional(
		headerMatches,
		"Headers: a value is compared whole; `{ prefix: TEXT }`, `{ present: true }` and `{ absent: true }` ask for less.",
	),
	query: optional(queryMatches, "Query parameters, decoded once, in the same way; the first of a name counts."),
	from: optional(oneOrMore("name", parseName, 100), "Source services: on the way out this service itself. Without it: any."),
	percent: byDefault(percent, DEFAULTS.matchPercent, "Percentage of the requests that fit otherwise, 0 to 100; drawn for each request."),
});

const body = text("text", (written): string | Refusal =>
	Buffer.byteLength(written) <= BODY_CHARS_MAX ? written : { refused: "is too long", hint: "at most 64 KiB in UTF-8" },
);

export const respond = object({
	status: byDefault(integer(200, 599), DEFAULTS.respond.status, "Status of the answer."),
	contentType: byDefault(text("header value", parseFieldValue), DEFAULTS.respond.contentType, "Its `content-type`."),
	body: byDefault(body, "", "Its body, at most 64 KiB."),
});

export type MatchConfig = Output<typeof match>;
export type RespondConfig = Output<typeof respond>;
