/** The header fields that a proxy must know by name: small numbers for them, and what may happen to each. */

export const OTHER = 0;
export const HOST = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
export const KEEP_ALIVE = 5;
export const PROXY_CONNECTION = 6;
export const TE = 7;
export const TRAILER = 8;
export const UPGRADE = 9;
export const EXPECT = 10;
export const VIA = 11;
export const X_FORWARDED_FOR = 12;
export const X_FORWARDED_PROTO = 13;
export const X_FORWARDED_HOST = 14;
export const FORWARDED = 15;
export const X_REAL_IP = 16;
export const X_REQUEST_ID = 17;
export const TRACEPARENT = 18;
export const HTTP2_SETTINGS = 19;
export const MAX_FORWARDS = 20;
export const AUTHORIZATION = 21;
export const CACHE_CONTROL = 22;
/** Names that servers of the CGI family read as Transfer-Encoding or Content-Length (`_` for `-`). */
export const FRAMING_ALIAS = 23;
/** Any further field that begins with `x-nexus-`: the mesh's own. */
export const X_NEXUS = 24;
/** Names that the same servers read as one of the fields in which proxies say who the client is: never relayed, whoever sends them. */
export const FORWARDED_ALIAS = 25;
/** Milliseconds that the caller still gives the request. */
export const X_NEXUS_DEADLINE = 26;
/** Which try of its caller a request is. */
export const X_NEXUS_ATTEMPT = 27;
/** Asks for the decision trace. */
export const X_NEXUS_TRACE = 28;
/** In an answer: who gave it has tried again in vain already. */
export const X_NEXUS_RETRIED = 29;
export const RETRY_AFTER = 30;
/** In which a proxy says whose certificate its client has shown. */
export const X_FORWARDED_CLIENT_CERT = 31;

const NAMES: readonly (readonly [string, number])[] = [
	["host", HOST],
	["content-length", CONTENT_LENGTH],
	["transfer-encoding", TRANSFER_ENCODING],
	["connection", CONNECTION],
	["keep-alive", KEEP_ALIVE],
	["proxy-connection", PROXY_CONNECTION],
	["te", TE],
	["trailer", TRAILER],
	["upgrade", UPGRADE],
	["expect", EXPECT],
	["via", VIA],
	["x-forwarded-for", X_FORWARDED_FOR],
	["x-forwarded-proto", X_FORWARDED_PROTO],
	["x-forwarded-host", X_FORWARDED_HOST],
	["forwarded", FORWARDED],
	["x-real-ip", X_REAL_IP],
	["x-request-id", X_REQUEST_ID],
	["traceparent", TRACEPARENT],
	["http2-settings", HTTP2_SETTINGS],
	["max-forwards", MAX_FORWARDS],
	["authorization", AUTHORIZATION],
	["cache-control", CACHE_CONTROL],
	["x-nexus-deadline-ms", X_NEXUS_DEADLINE],
	["x-nexus-attempt", X_NEXUS_ATTEMPT],
	["x-nexus-trace", X_NEXUS_TRACE],
	["x-nexus-retried", X_NEXUS_RETRIED],
	["retry-after", RETRY_AFTER],
	["x-forwarded-client-cert", X_FORWARDED_CLIENT_CERT],
];

interface Known {
	readonly bytes: Uint8Array;
	readonly id: number;
}

const LONGEST = 24;
const BY_LENGTH: readonly (readonly Known[])[] = Array.from({ length: LONGEST }, (_, length) =>
	NAMES.filter(([name]) => name.length === length).map(([name, id]) => ({ bytes: Buffer.from(name, "latin1"), id })),
);
const NEXUS_PREFIX = Buffer.from("x-nexus-", "latin1");

/** What a name is that differs from the known one only by `_` for `-`. */
const ALIASES: Uint8Array = new Uint8Array(32);
for (const id of [CONTENT_LENGTH, TRANSFER_ENCODING]) ALIASES[id] = FRAMING_ALIAS;
for (const id of [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP, X_FORWARDED_CLIENT_CERT]) ALIASES[id] = FORWARDED_ALIAS;
for (const id of [X_NEXUS_DEADLINE, X_NEXUS_ATTEMPT, X_NEXUS_TRACE, X_NEXUS_RETRIED]) ALIASES[id] = X_NEXUS;

const DIFFERENT = 0;
const SAME = 1;
const ALIAS = 2;

/** Which of the known fields the bytes `[start, end)` name, ASCII case folded. Their being a token is the caller's check. */
export function fieldId(buffer: Uint8Array, start: number, end: number): number {
	const length = end - start;
	const first = (buffer[start] as number) | 0x20;
	if (length < LONGEST) {
		const known = BY_LENGTH[length] as readonly Known[];
		for (let k = 0; k < known.length; k++) {
			const candidate = known[k] as Known;
			if (candidate.bytes[0] !== first) continue;
			const likeness = compareFolded(buffer, start, candidate.bytes);
			if (likeness === SAME) return candidate.id;
			if (likeness === ALIAS) return ALIASES[candidate.id] as number;
		}
	}
	if (first !== 0x78 || length <= NEXUS_PREFIX.length) return OTHER;
	return compareFolded(buffer, start, NEXUS_PREFIX) === DIFFERENT ? OTHER : X_NEXUS;
}

/** The same for a name that is a string already. */
export function fieldIdOf(name: string): number {
	if (name.length === 0) return OTHER;
	return fieldId(Buffer.from(name, "latin1"), 0, name.length);
}

/** Whether two names in lower case differ by `_` for `-` only, at any of its places. */
export function isAlias(one: string, other: string): boolean {
	return one !== other && one.replaceAll("_", "-") === other.replaceAll("_", "-");
}

// Folding by range, not by bit: `_` and DEL, `[` and `{` must stay different.
function compareFolded(buffer: Uint8Array, start: number, lower: Uint8Array): number {
	let likeness = SAME;
	for (let i = 0; i < lower.length; i++) {
		const byte = buffer[start + i] as number;
		const folded = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
		if (folded === lower[i]) continue;
		if (byte !== 0x5f || lower[i] !== 0x2d) return DIFFERENT;
		likeness = ALIAS;
	}
	return likeness;
}

/** Fields that are never relayed: those that mean one connection only (RFC 9110 section 7.6.1), framing, which is written anew, and aliases. */
export const HOP_BY_HOP: Uint8Array = flags([
	CONNECTION,
	KEEP_ALIVE,
	PROXY_CONNECTION,
	TE,
	TRANSFER_ENCODING,
	UPGRADE,
	HTTP2_SETTINGS,
	FORWARDED_ALIAS,
]);

/** Fields that a `Connection` list cannot make us drop (CVE-2024-45410, CVE-2022-45059): what they say is not the client's to withdraw. */
export const NOT_NOMINABLE: Uint8Array = flags([
	HOST,
	CONTENT_LENGTH,
	TRANSFER_ENCODING,
	EXPECT,
	VIA,
	X_FORWARDED_FOR,
	X_FORWARDED_PROTO,
	X_FORWARDED_HOST,
	FORWARDED,
	X_REAL_IP,
	X_REQUEST_ID,
	TRACEPARENT,
	MAX_FORWARDS,
	AUTHORIZATION,
	CACHE_CONTROL,
	X_NEXUS,
	X_NEXUS_DEADLINE,
	X_NEXUS_ATTEMPT,
	X_NEXUS_TRACE,
	X_NEXUS_RETRIED,
	RETRY_AFTER,
	X_FORWARDED_CLIENT_CERT,
]);

/** Further fields that must not stand in a trailer section: authentication, controls, content. RFC 9110 section 6.5.1. */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
	"range",
	"proxy-authorization",
	"proxy-authenticate",
	"www-authenticate",
	"cookie",
	"set-cookie",
	"age",
	"date",
	"expires",
	"location",
	"retry-after",
	"vary",
	"warning",
	"content-type",
	"content-encoding",
	"content-range",
]);

/** `name` in lower case. What a proxy knows by name says something about the whole message, so it never comes after the body. */
export function isAllowedTrailer(name: string): boolean {
	return fieldIdOf(name) === OTHER && !NOT_IN_TRAILERS.has(name) && !name.startsWith("x-forwarded-");
}

function flags(ids: readonly number[]): Uint8Array {
	const table = new Uint8Array(32);
	for (const id of ids) table[id] = 1;
	return table;
}
