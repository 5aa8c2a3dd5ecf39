/** The small languages of resilience and traffic policy: statuses, causes of retries, quantiles, shares, sizes, keys, fields. */
import { type Refusal, refuse } from "./fault.ts";
import type { HedgePolicy, RateLimitKeyPart, StatusRange } from "./resilience-policy.ts";
import type { HashKey } from "./traffic-policy.ts";
import { parseDuration, parseFieldName } from "./values.ts";

const STATUS_HINT = "write a status (503), a class (5xx) or a range (500-504), from 400 to 599";

/** `503`, `5xx`, `500-504`: answers that can be failures. */
export function parseStatusRange(text: string): StatusRange | Refusal {
	const [, one, hundreds, from, to] = /^(?:(\d{3})|(\d)xx|(\d{3})-(\d{3}))$/.exec(text) ?? [];
	const range =
		hundreds === undefined ? { from: Number(one ?? from), to: Number(one ?? to) } : { from: Number(hundreds) * 100, to: Number(hundreds) * 100 + 99 };
	if (Number.isNaN(range.from)) return refuse("is not a status", STATUS_HINT);
	if (range.from > range.to) return refuse("ends before it begins", STATUS_HINT);
	return range.from >= 400 && range.to <= 599 ? range : refuse("is no status of a failure", STATUS_HINT);
}

export type RetryCause = "connect-failure" | "reset" | "per-try-timeout" | StatusRange;

/** What `retry.on` lists: a cause by name, or statuses. */
export function parseRetryCause(text: string): RetryCause | Refusal {
	if (text === "connect-failure" || text === "reset" || text === "per-try-timeout") return text;
	if (text === "gateway-error") return { from: 502, to: 504 };
	if (/^\d/.test(text)) return parseStatusRange(text);
	return refuse("is not a cause of retries", "use connect-failure, reset, per-try-timeout, gateway-error, 5xx, or a status as in 503");
}

/** `p95`, `p99.9`, or a duration from 1ms to 1h. */
export function parseHedgeDelay(text: string): HedgePolicy["after"] | Refusal {
	const digits = /^p(\d{1,2}(?:\.\d{1,3})?)$/.exec(text)?.[1];
	if (digits !== undefined) {
		const quantile = Number(digits) / 100;
		return quantile === 0 ? refuse("is no part of the answers", "write p95 for the time that 95 % of them take") : { kind: "quantile", quantile };
	}
	const ms = parseDuration(text);
	if (typeof ms !== "number") return /^p/.test(text) ? refuse("is not a quantile", "write p95, p99, or a duration as in 50ms") : ms;
	return ms >= 1 && ms <= 3_600_000 ? { kind: "time", ms } : refuse("is not a time to wait for an answer", "from 1ms to 1h, or p95");
}

/** `5%` or `0.05` -> 0.05; 0 to 1. */
export function parseShare(text: string): number | Refusal {
	const [, digits, percent] = /^(\d{1,9}(?:\.\d{1,9})?)(%)?$/.exec(text) ?? [];
	const hint = "write 5% or 0.05; from 0 to 1";
	if (digits === undefined) return refuse("is not a share", hint);
	const share = percent === undefined ? Number(digits) : Number(digits) / 100;
	return share <= 1 ? share : refuse("is more than all", hint);
}

const UNIT_BYTES: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: 1024, MiB: 1024 * 1024, kB: 1000, MB: 1_000_000 };

/** `64KiB`, `1MiB`, `512`: bytes, 0 to `max`. */
export function parseBytes(text: string, max: number): number | Refusal {
	const [, digits, unit] = /^(\d{1,12})(B|kB|KiB|MB|MiB)?$/.exec(text) ?? [];
	if (digits === undefined) return refuse("is not a number of bytes", "write 64KiB, 1MiB or 65536");
	const bytes = Number(digits) * (UNIT_BYTES[unit ?? ""] ?? 1);
	return bytes <= max ? bytes : refuse("is too large", `at most ${max % 1_048_576 === 0 ? `${max / 1_048_576}MiB` : max}`);
}

/** What a request is told apart by: `header:NAME`, `cookie:NAME`, `ip`, `path`. */
export function parseHashKey(text: string): HashKey | Refusal {
	if (text === "ip" || text === "path") return { kind: text };
	const [, kind, name] = /^(header|cookie):(.*)$/.exec(text) ?? [];
	if (name === undefined) return refuse("is nothing to tell requests apart by", "use header:NAME, cookie:NAME, ip or path");
	const field = parseFieldName(name);
	if (typeof field !== "string") return refuse(`does not name a ${kind}`, field.hint);
	// Cookie names are case-sensitive (RFC 6265 section 5.3).
	return kind === "header" ? { kind: "header", name: field } : { kind: "cookie", name };
}

/** One part of a rate limit's key. */
export function parseRateLimitKey(text: string): RateLimitKeyPart | Refusal {
	if (text === "caller" || text === "route" || text === "ip" || text === "global") return { kind: text };
	const hint = "use caller, route, ip, global or header:NAME";
	if (!text.startsWith("header:")) return refuse("is nothing to count requests by", hint);
	const name = parseFieldName(text.slice("header:".length));
	return typeof name === "string" ? { kind: "header", name } : refuse("does not name a header", name.hint);
}

/** `redis://host:6379`, `rediss://user:password@host/0`. */
export function parseRedisUrl(text: string): string | Refusal {
	const hint = "write redis://127.0.0.1:6379, or rediss:// for TLS";
	if (!/^rediss?:\/\/[^/]/.test(text) || !URL.canParse(text)) return refuse("is not a Redis URL", hint);
	const { pathname, search, hash } = new URL(text);
	if (search !== "" || hash !== "" || !/^(\/\d{0,3})?$/.test(pathname)) return refuse("has more than a database number behind its host", hint);
	return text;
}

/** RFC 3339 with its time zone -> milliseconds since 1970. */
export function parseTimestamp(text: string): number | Refusal {
	const hint = 'write it with its zone, in quotes: "2026-12-01T00:00:00Z"';
	if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text)) return refuse("is not a point in time", hint);
	const ms = Date.parse(text);
	return Number.isNaN(ms) ? refuse("is a point in time that does not exist", hint) : ms;
}

/** A path that a route puts in the place of another: no query, no wildcards. */
export function parsePlainPath(text: string): string | Refusal {
	if (/[*?#]/.test(text)) return refuse("holds a `*`, `?` or `#`", "write a path; what `**` matched is put behind it, the query stays");
	if (!/^\/[\x21-\x7e]{0,2047}$/.test(text)) return refuse("is not a path", "begin with `/`; no spaces, other characters percent-encoded");
	return /%(?![0-9a-fA-F]{2})/.test(text) ? refuse("has a `%` that encodes nothing", "write %25 for a percent sign") : text;
}

// One connection only (RFC 9110 section 7.6.1), framing, where a request goes, and what the mesh or a proxy says about it:
// another value would make the next hop believe what is not so.
const UNTOUCHABLE: ReadonlySet<string> = new Set([
	"connection",
	"content-length",
	"expect",
	"forwarded",
	"host",
	"http2-settings",
	"keep-alive",
	"max-forwards",
	"proxy-authenticate",
	"proxy-authorization",
	"proxy-connection",
	"te",
	"traceparent",
	"tracestate",
	"trailer",
	"transfer-encoding",
	"upgrade",
	"via",
	"x-real-ip",
	"x-request-id",
]);

/** A field that a route may set, add or remove; lower case. */
export function parseChangedField(text: string): string | Refusal {
	const name = parseFieldName(text);
	if (typeof name !== "string") return name;
	// Some servers read `_` as `-`.
	const read = name.replaceAll("_", "-");
	if (!UNTOUCHABLE.has(read) && !read.startsWith("x-nexus-") && !read.startsWith("x-forwarded-")) return name;
	const hint =
		read === "host"
			? "use `rewrite: { host: NAME }`"
			: "routes change neither framing, nor single connections, nor what the mesh says about a request";
	return refuse("is not a field that a route may change", hint);
}

/** Query parameters are compared decoded. */
export function parseParameterName(text: string): string | Refusal {
	return text !== "" && text.length <= 256 ? text : refuse("is not a name of a query parameter", "1 to 256 characters, decoded");
}

export function parseParameterValue(text: string): string | Refusal {
	return text.length <= 4096 ? text : refuse("is too long", "at most 4096 characters");
}
