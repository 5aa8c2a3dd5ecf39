/** From a request to the key of its bucket, and from a key to what people may see of it. */
import { hash } from "node:crypto";
import type { RateLimitKeyPart } from "../policy/resilience-policy.ts";

/** What a limit may ask a request; must answer until the request is admitted or refused, not while it waits. */
export interface LimitSubject {
	/** The service that asks; "" where it is unknown. */
	caller(): string;
	/** The address of the client. */
	ip(): string;
	route(): string;
	/** `name` in lower case; the first of several. */
	header(name: string): string | undefined;
}

// Whatever a client sends, a key stays small: 10,000 of them are kept per limit. Longer values count by their SHA-256.
const PART_CHARS_MAX = 128;
const HASHED = "sha256:";
// Enough to tell keys apart in an event, too little to get a secret back from.
const SHOWN_DIGITS = 8;
// Neither a field value nor a name in the policy holds one, so two different tuples never make one key.
const SEPARATOR = "\n";

/** The bucket of this request: one text for the whole tuple. A header that is absent counts as an empty one. */
export function limitKey(parts: readonly RateLimitKeyPart[], subject: LimitSubject): string {
	const first = parts[0];
	if (first === undefined) return "";
	let key = partOf(first, subject);
	for (let i = 1; i < parts.length; i++) {
		const part = parts[i];
		if (part !== undefined) key += SEPARATOR + partOf(part, subject);
	}
	return key;
}

/** Whether all requests have one key. */
export function isGlobal(parts: readonly RateLimitKeyPart[]): boolean {
	return parts.every((part) => part.kind === "global");
}

/** For events, traces and logs: header values, which may be secrets, appear as the first 8 digits of their SHA-256. */
export function shownKey(parts: readonly RateLimitKeyPart[], key: string): string {
	const values = key.split(SEPARATOR);
	return parts.map((part, i) => shownPart(part, values[i] ?? "")).join(", ");
}

/** `each caller and header x-tenant`, `all requests`. */
export function describeKey(parts: readonly RateLimitKeyPart[]): string {
	const named = parts.filter((part) => part.kind !== "global").map((part) => (part.kind === "header" ? `header ${part.name}` : part.kind));
	return named.length === 0 ? "all requests" : `each ${named.join(" and ")}`;
}

function partOf(part: RateLimitKeyPart, subject: LimitSubject): string {
	let value: string;
	switch (part.kind) {
		case "caller":
			value = subject.caller();
			break;
		case "ip":
			value = subject.ip();
			break;
		case "route":
			value = subject.route();
			break;
		case "header":
			value = subject.header(part.name) ?? "";
			break;
		case "global":
			value = "";
			break;
	}
	return value.length > PART_CHARS_MAX ? HASHED + hash("sha256", value, "hex") : value;
}

function shownPart(part: RateLimitKeyPart, value: string): string {
	if (part.kind === "global") return "global";
	if (value === "") return part.kind === "header" ? `${part.name}: none` : `${part.kind} unknown`;
	if (part.kind !== "header") return value;
	const digest = value.startsWith(HASHED) ? value.slice(HASHED.length) : hash("sha256", value, "hex");
	return `${part.name}: ${HASHED}${digest.slice(0, SHOWN_DIGITS)}`;
}
