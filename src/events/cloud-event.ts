/** The envelope of every event: CloudEvents 1.0, checked by hand because it is checked once per event of the whole mesh. */

/** What an attribute other than `data` may hold (CloudEvents 1.0 section "Type System", as JSON). */
export type AttributeValue = string | number | boolean;

export interface CloudEvent<Data = unknown> {
	readonly specversion: "1.0";
	/** Unique within `source`; (source, id) is the identity of the event. */
	readonly id: string;
	/** URI-reference of what sent it, such as `/mesh/checkout/a1`. */
	readonly source: string;
	readonly type: string;
	readonly subject?: string;
	/** RFC 3339; when it happened, by the clock of the source. */
	readonly time?: string;
	readonly datacontenttype?: string;
	readonly dataschema?: string;
	readonly data?: Data;
	readonly data_base64?: string;
	/** 0 (least) to 9; 8 and 9 are failures of the mesh. */
	readonly priority?: number;
	/** Events with the same key stay in order. */
	readonly partitionkey?: string;
	/** W3C Trace Context. */
	readonly traceparent?: string;
	/** `id` of the event that led to this one. */
	readonly causationid?: string;
	/** Shared by all events of one business transaction. */
	readonly correlationid?: string;
}

export type EventVerdict = { readonly ok: true; readonly event: CloudEvent } | { readonly ok: false; readonly reason: string };

/** What intermediaries must forward at least (CloudEvents 1.0 section "Size Limits"), and what we take where nothing else is said. */
export const EVENT_BYTES_MAX = 64 * 1024;
/** What a Nexus may be told to take: the most that brokers do by default. */
export const EVENT_BYTES_LIMIT = 1024 * 1024;

// Identities and index keys: far above any seen in the wild, far below what makes an index costly.
const ID_CHARS_MAX = 512;
const SOURCE_CHARS_MAX = 1024;
const TYPE_CHARS_MAX = 256;
// The specification recommends 20.
const NAME_CHARS_MAX = 64;
const RFC3339 =
	/^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,12})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * Judges a parsed JSON value. JSON null means "not set" (JSON format section 2.2): such attributes are left out of the result, which is the given
 * object itself in every other case.
 */
export function validateEvent(value: unknown): EventVerdict {
	if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse("an event is a JSON object");
	const event = value as Record<string, unknown>;
	if (event.specversion !== "1.0") return refuse('specversion must be "1.0"');
	if (!isText(event.id, ID_CHARS_MAX)) return refuse(textFault("id", event.id, ID_CHARS_MAX));
	if (!isText(event.source, SOURCE_CHARS_MAX)) return refuse(textFault("source", event.source, SOURCE_CHARS_MAX));
	if (!isText(event.type, TYPE_CHARS_MAX)) return refuse(textFault("type", event.type, TYPE_CHARS_MAX));
	let hasNull = false;
	for (const name in event) {
		const attribute = event[name];
		if (attribute === null && name !== "data") {
			hasNull = true;
			if (!isAttributeName(name) && name !== "data_base64") return refuse(nameFault(name));
			continue;
		}
		const fault = attributeFault(name, attribute, event);
		if (fault !== undefined) return refuse(fault);
	}
	return { ok: true, event: (hasNull ? withoutNulls(event) : event) as unknown as CloudEvent };
}

function attributeFault(name: string, value: unknown, event: Record<string, unknown>): string | undefined {
	switch (name) {
		case "specversion":
		case "id":
		case "source":
		case "type":
		case "data":
			return undefined;
		case "data_base64":
			if (typeof value !== "string" || value.length % 4 !== 0 || !BASE64.test(value)) return "data_base64 must be a base64 string";
			return event.data === undefined ? undefined : "data and data_base64 exclude each other";
		case "time":
			return typeof value === "string" && RFC3339.test(value) ? undefined : "time must be an RFC 3339 timestamp";
		case "priority":
			return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 9 ? undefined : "priority must be an integer from 0 to 9";
		case "subject":
		case "datacontenttype":
		case "dataschema":
		case "partitionkey":
		case "traceparent":
		case "causationid":
		case "correlationid":
			return isText(value, SOURCE_CHARS_MAX) ? undefined : textFault(name, value, SOURCE_CHARS_MAX);
		default:
			return extensionFault(name, value);
	}
}

function extensionFault(name: string, value: unknown): string | undefined {
	if (!isAttributeName(name)) return nameFault(name);
	switch (typeof value) {
		case "string":
		case "boolean":
			return undefined;
		case "number":
			return (value | 0) === value ? undefined : `${name} must be an integer of 32 bits: CloudEvents know no other numbers`;
		default:
			return `${name} must be a string, a boolean or an integer`;
	}
}

function nameFault(name: string): string {
	return `attribute name ${JSON.stringify(name.slice(0, NAME_CHARS_MAX))} is not of a-z and 0-9, or is longer than ${NAME_CHARS_MAX}`;
}

function textFault(name: string, value: unknown, charsMax: number): string {
	if (value === undefined) return `${name} is missing`;
	if (typeof value !== "string" || value === "") return `${name} must be a non-empty string`;
	return value.length > charsMax ? `${name} is longer than ${charsMax} characters` : `${name} contains a control character`;
}

function isText(value: unknown, charsMax: number): value is string {
	if (typeof value !== "string" || value.length === 0 || value.length > charsMax) return false;
	// No control characters (section "Type System"): ids and types end up in logs and terminals.
	return !CONTROL.test(value);
}

function isAttributeName(name: string): boolean {
	if (name.length === 0 || name.length > NAME_CHARS_MAX) return false;
	for (let i = 0; i < name.length; i++) {
		const code = name.charCodeAt(i);
		if (!((code >= 0x61 && code <= 0x7a) || (code >= 0x30 && code <= 0x39))) return false;
	}
	return true;
}

function withoutNulls(event: Record<string, unknown>): Record<string, unknown> {
	return Object.fromEntries(Object.entries(event).filter(([name, value]) => value !== null || name === "data"));
}

function refuse(reason: string): EventVerdict {
	return { ok: false, reason };
}
