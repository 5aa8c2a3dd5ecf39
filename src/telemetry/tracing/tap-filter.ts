/** Which exchanges a tap wants to see: parsed from a query, asked once when a request has come and once when it is over. */
import { REASON_CODES, type Reason } from "../../core/reasons.ts";
import type { DecisionTrace } from "../../policy/decision-trace.ts";
import { normalHost } from "../../policy/host-name.ts";
import { nearest } from "../../policy/nearest.ts";
import { parseDuration, parseFieldName, parseHostPattern } from "../../policy/values.ts";

export interface TapFilter {
	/** Upper case; undefined: any, here and below. */
	readonly method: string | undefined;
	/** Lower case, without port; `*.suffix` for the names below one. */
	readonly host: string | undefined;
	/** All must be there with just these values. Names lower case. */
	readonly headers: readonly { readonly name: string; readonly value: string }[];
	readonly route: string | undefined;
	readonly upstream: string | undefined;
	/** Both ends belong to it. */
	readonly status: { readonly from: number; readonly to: number } | undefined;
	readonly reason: Reason | undefined;
	readonly minDurationMs: number;
}

export interface TapRequest {
	readonly filter: TapFilter;
	/** Traces a second at most; the rest is counted. */
	readonly perSecond: number;
}

/** Field values of a request by name (lower case); undefined where it has none of that name. */
export type HeaderLookup = (name: string) => string | undefined;

// A person reads fewer, and each trace costs about what the request itself costs.
const PER_SECOND_DEFAULT = 10;
const PER_SECOND_MAX = 1000;
// Each is looked up per request while somebody taps.
const HEADERS_MAX = 8;
const KEYS = ["route", "upstream", "status", "reason", "method", "host", "header", "minDuration", "rate"] as const;

/**
 * Query of `/tap`: `route`, `upstream`, `status` (`503`, `5xx`), `reason`, `method`, `host`, `header` (`name:value`, may be
 * repeated), `minDuration` (`250ms`) and `rate` (traces a second, 1..1000, default 10). A string says what is wrong with it.
 */
export function parseTapQuery(query: URLSearchParams): TapRequest | string {
	for (const key of query.keys()) {
		if (KEYS.some((known) => known === key)) continue;
		const near = nearest(key, KEYS);
		return `${JSON.stringify(key)} is no filter${near === undefined ? `; there are ${KEYS.join(", ")}` : `; did you mean ${near}?`}`;
	}
	for (const key of KEYS) if (key !== "header" && query.getAll(key).length > 1) return `${key} stands there twice`;
	const text = (key: (typeof KEYS)[number]): string | undefined => query.get(key) || undefined;
	const status = parseStatus(text("status"));
	if (typeof status === "string") return status;
	const reason = parseReason(text("reason"));
	if (reason !== undefined && !isReason(reason)) return reason;
	const host = parseHost(text("host"));
	if (host !== undefined && typeof host !== "string") return host.refusal;
	const headers = parseHeaders(query.getAll("header"));
	if (typeof headers === "string") return headers;
	const minDuration = text("minDuration");
	const minDurationMs = minDuration === undefined ? 0 : parseDuration(minDuration);
	if (typeof minDurationMs !== "number") return `minDuration ${JSON.stringify(minDuration)} ${minDurationMs.refused}: ${minDurationMs.hint}`;
	const rate = text("rate") ?? String(PER_SECOND_DEFAULT);
	const perSecond = /^\d{1,4}$/.test(rate) ? Number(rate) : 0;
	if (perSecond < 1 || perSecond > PER_SECOND_MAX) return `rate is ${JSON.stringify(rate)}, and goes from 1 to ${PER_SECOND_MAX} traces a second`;
	const filter = {
		method: text("method")?.toUpperCase(),
		host,
		headers,
		route: text("route"),
		upstream: text("upstream"),
		status,
		reason,
		minDurationMs,
	};
	return { filter, perSecond };
}

/** What can be told when the head of a request has come. */
export function fitsRequest(filter: TapFilter, method: string, host: string, header: HeaderLookup): boolean {
	if (filter.method !== undefined && filter.method !== method) return false;
	if (filter.host !== undefined && !hostFits(filter.host, normalHost(host))) return false;
	for (const { name, value } of filter.headers) if (header(name) !== value) return false;
	return true;
}

/** The rest, once it is over. */
export function fitsTrace(filter: TapFilter, trace: DecisionTrace): boolean {
	if (filter.route !== undefined && filter.route !== trace.route) return false;
	if (filter.upstream !== undefined && filter.upstream !== trace.upstream) return false;
	if (filter.reason !== undefined && filter.reason !== trace.reason) return false;
	if (filter.status !== undefined && (trace.status < filter.status.from || trace.status > filter.status.to)) return false;
	return trace.durationMs >= filter.minDurationMs;
}

function hostFits(pattern: string, host: string): boolean {
	return pattern.startsWith("*.") ? host.length > pattern.length - 1 && host.endsWith(pattern.slice(1)) : host === pattern;
}

function parseStatus(text: string | undefined): TapFilter["status"] | string {
	if (text === undefined) return undefined;
	if (/^[1-5]\d\d$/.test(text)) return { from: Number(text), to: Number(text) };
	if (/^[1-5]xx$/i.test(text)) return { from: Number(text[0]) * 100, to: Number(text[0]) * 100 + 99 };
	return `status ${JSON.stringify(text)} is neither a status (503) nor a class of them (5xx)`;
}

function parseReason(text: string | undefined): Reason | string | undefined {
	if (text === undefined || isReason(text)) return text;
	const near = nearest(text, REASON_CODES);
	return `reason ${JSON.stringify(text)} is not in the catalogue${near === undefined ? " (docs/reasons.md)" : `; did you mean ${near}?`}`;
}

function isReason(text: string): text is Reason {
	return REASON_CODES.some((code) => code === text);
}

function parseHost(text: string | undefined): string | { refusal: string } | undefined {
	if (text === undefined) return undefined;
	const pattern = parseHostPattern(text);
	return typeof pattern === "string" ? pattern : { refusal: `host ${JSON.stringify(text)} ${pattern.refused}: ${pattern.hint}` };
}

function parseHeaders(texts: readonly string[]): TapFilter["headers"] | string {
	if (texts.length > HEADERS_MAX) return `header stands there ${texts.length} times; ${HEADERS_MAX} is the most`;
	const headers: { name: string; value: string }[] = [];
	for (const text of texts) {
		const colon = text.indexOf(":");
		const name = colon < 1 ? undefined : parseFieldName(text.slice(0, colon).trim());
		if (typeof name !== "string") return `header ${JSON.stringify(text)} is not of the form name:value`;
		headers.push({ name, value: text.slice(colon + 1).trim() });
	}
	return headers;
}
