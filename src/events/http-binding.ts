/** CloudEvents over HTTP (HTTP protocol binding 1.0 section 3): the three content modes become checked events and the bytes to keep of each. */
import { isUtf8 } from "node:buffer";
import { type CloudEvent, EVENT_BYTES_MAX, validateEvent } from "./cloud-event.ts";
import { arrayMembers } from "./json-members.ts";

/** One event of a request; `start` and `end` bound its JSON in `ParsedEvents.bytes`. */
export type EventMember =
	| { readonly ok: true; readonly event: CloudEvent; readonly start: number; readonly end: number }
	| { readonly ok: false; readonly reason: string };

export type ParsedEvents =
	| { readonly ok: true; readonly bytes: Buffer; readonly members: readonly EventMember[] }
	| { readonly ok: false; readonly status: 400 | 413 | 415; readonly reason: string };

/** The fields of a request, names in lower case. */
export interface HeaderFields {
	/** All values of a field, joined; undefined where it is absent. */
	header(name: string): string | undefined;
	headers(): Iterable<readonly [name: string, value: string]>;
}

export const STRUCTURED_TYPE = "application/cloudevents+json";
export const BATCH_TYPE = "application/cloudevents-batch+json";
/** More events in one request would hold up the others that are committed with it. */
export const BATCH_EVENTS_MAX = 4096;

const SPACE = 0x20;
const OPEN_BRACKET = 0x5b;

/** Never throws; what is wrong with single members of a batch stands at the member. `eventBytesMax`: of one event as JSON. */
export function parseEvents(headers: HeaderFields, body: Buffer, eventBytesMax: number = EVENT_BYTES_MAX): ParsedEvents {
	const contentType = headers.header("content-type");
	if (contentType === STRUCTURED_TYPE) return parseStructured(body, eventBytesMax);
	if (contentType === BATCH_TYPE) return parseBatch(body, eventBytesMax);
	const media = mediaType(contentType);
	if (media.name.startsWith("application/cloudevents")) {
		if (!media.isUtf8) return { ok: false, status: 415, reason: "JSON events are UTF-8; no other charset is taken" };
		if (media.name === STRUCTURED_TYPE) return parseStructured(body, eventBytesMax);
		if (media.name === BATCH_TYPE) return parseBatch(body, eventBytesMax);
		return { ok: false, status: 415, reason: `the event format ${media.name} is not supported; send ${STRUCTURED_TYPE} or ${BATCH_TYPE}` };
	}
	if (headers.header("ce-specversion") !== undefined || headers.header("ce-id") !== undefined)
		return parseBinary(headers, contentType, media, body, eventBytesMax);
	return {
		ok: false,
		status: 415,
		reason: `content-type must be ${STRUCTURED_TYPE} or ${BATCH_TYPE}, or the event must stand in ce-* header fields`,
	};
}

/** A message that says by itself what it is: an event, or a JSON array of events. */
export function parseMessage(bytes: Buffer, eventBytesMax: number = EVENT_BYTES_MAX): ParsedEvents {
	let at = 0;
	while (at < bytes.length && (bytes[at] as number) <= SPACE) at++;
	return bytes[at] === OPEN_BRACKET ? parseBatch(bytes, eventBytesMax) : parseStructured(bytes, eventBytesMax);
}

function parseStructured(body: Buffer, eventBytesMax: number): ParsedEvents {
	if (body.length > eventBytesMax) return { ok: false, status: 413, reason: tooLarge(eventBytesMax) };
	const json = parseJson(body);
	if (!json.ok) return { ok: false, status: 400, reason: json.reason };
	const verdict = validateEvent(json.value);
	return { ok: true, bytes: body, members: [verdict.ok ? { ok: true, event: verdict.event, start: 0, end: body.length } : verdict] };
}

function parseBatch(body: Buffer, eventBytesMax: number): ParsedEvents {
	const json = parseJson(body);
	if (!json.ok) return { ok: false, status: 400, reason: json.reason };
	const values = json.value;
	if (!Array.isArray(values)) return { ok: false, status: 400, reason: "a batch is a JSON array of events" };
	if (values.length === 0) return { ok: false, status: 400, reason: "the batch is empty" };
	if (values.length > BATCH_EVENTS_MAX) return { ok: false, status: 413, reason: `a batch holds at most ${BATCH_EVENTS_MAX} events` };
	const bounds = arrayMembers(body);
	const members = values.map((value, i): EventMember => {
		const start = bounds[2 * i] as number;
		const end = bounds[2 * i + 1] as number;
		if (end - start > eventBytesMax) return { ok: false, reason: tooLarge(eventBytesMax) };
		const verdict = validateEvent(value);
		return verdict.ok ? { ok: true, event: verdict.event, start, end } : verdict;
	});
	return { ok: true, bytes: body, members };
}

function parseBinary(headers: HeaderFields, contentType: string | undefined, media: MediaType, body: Buffer, eventBytesMax: number): ParsedEvents {
	// Without a prototype: `ce-__proto__` is a wrong name, not an instruction.
	const attributes: Record<string, string | number> = Object.create(null);
	if (contentType !== undefined) attributes.datacontenttype = contentType;
	for (const [name] of headers.headers()) {
		if (!name.startsWith("ce-")) continue;
		const attribute = name.slice(3);
		if (attribute === "datacontenttype") return { ok: false, status: 400, reason: "ce-datacontenttype must not be present: Content-Type carries it" };
		if (attribute === "data" || attribute === "data_base64")
			return { ok: false, status: 400, reason: `${name} must not be present: the body carries the data` };
		const value = decodeFieldValue(headers.header(name) ?? "");
		if (value === undefined) return { ok: false, status: 400, reason: `${name} is not percent-encoded UTF-8` };
		attributes[attribute] = attribute === "priority" && /^\d$/.test(value) ? Number(value) : value;
	}
	const verdict = validateEvent(attributes);
	if (!verdict.ok) return { ok: true, bytes: body, members: [verdict] };
	const data = dataMember(media, body);
	if (!data.ok) return { ok: false, status: 400, reason: data.reason };
	const head = JSON.stringify(attributes);
	const bytes = Buffer.from(data.json === "" ? head : `${head.slice(0, -1)},${data.json}}`);
	if (bytes.length > eventBytesMax) return { ok: false, status: 413, reason: tooLarge(eventBytesMax) };
	return { ok: true, bytes, members: [{ ok: true, event: JSON.parse(bytes.toString()) as CloudEvent, start: 0, end: bytes.length }] };
}

/** The data of a binary event as a member of its JSON form (JSON format section 3.1). */
function dataMember(media: MediaType, body: Buffer): { ok: true; json: string } | { ok: false; reason: string } {
	if (body.length === 0) return { ok: true, json: "" };
	if (media.isUtf8 && (media.name.endsWith("/json") || media.name.endsWith("+json"))) {
		const json = parseJson(body);
		return json.ok ? { ok: true, json: `"data":${body.toString()}` } : json;
	}
	if (media.isUtf8 && media.name.startsWith("text/") && isUtf8(body)) return { ok: true, json: `"data":${JSON.stringify(body.toString())}` };
	return { ok: true, json: `"data_base64":"${body.toString("base64")}"` };
}

/** Unquotes, then percent-decodes exactly once (section 3.1.3.2); undefined where that does not give UTF-8. */
function decodeFieldValue(value: string): string | undefined {
	if (!/^[\x20-\x7e]*$/.test(value)) return undefined;
	const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value)?.[1];
	const text = quoted === undefined ? value : quoted.replace(/\\(.)/g, "$1");
	if (!text.includes("%")) return text;
	try {
		return decodeURIComponent(text);
	} catch {
		// URIError is how the language says "malformed or overlong".
		return undefined;
	}
}

function parseJson(bytes: Buffer): { ok: true; value: unknown } | { ok: false; reason: string } {
	// JSON.parse would take mangled UTF-8 (as U+FFFD) and the log would keep bytes that strict readers refuse.
	if (!isUtf8(bytes)) return { ok: false, reason: "the body is not UTF-8" };
	try {
		return { ok: true, value: JSON.parse(bytes.toString()) };
	} catch (thrown) {
		return { ok: false, reason: `the body is not JSON: ${thrown instanceof SyntaxError ? thrown.message.slice(0, 120) : "unreadable"}` };
	}
}

interface MediaType {
	readonly name: string;
	/** True also where no charset is named. */
	readonly isUtf8: boolean;
}

function mediaType(contentType: string | undefined): MediaType {
	const [name = "", ...parameters] = (contentType ?? "").toLowerCase().split(";");
	const charset = parameters.map((parameter) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/.exec(parameter)?.[1]).find((found) => found !== undefined);
	return { name: name.trim(), isUtf8: charset === undefined || charset === "utf-8" || charset === "utf8" || charset === "us-ascii" };
}

function tooLarge(eventBytesMax: number): string {
	return `the event is larger than ${eventBytesMax} bytes`;
}
