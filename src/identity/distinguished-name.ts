/** Distinguished names as text (RFC 4514): ASCII only, whatever a certificate holds, so that they can stand in a header, a log and a terminal. */
import { DerReader, TAG } from "./der-reader.ts";

// Names of real certificates have up to ten parts; what follows says nothing more about who somebody is.
const PARTS_MAX = 32;
const TEXT_LENGTH_MAX = 1024;

const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
	["2.5.4.3", "CN"],
	["2.5.4.5", "serialNumber"],
	["2.5.4.6", "C"],
	["2.5.4.7", "L"],
	["2.5.4.8", "ST"],
	["2.5.4.10", "O"],
	["2.5.4.11", "OU"],
	["0.9.2342.19200300.100.1.1", "UID"],
	["0.9.2342.19200300.100.1.25", "DC"],
]);

// Strings of one byte per character, or UTF-8: UTF8String, NumericString, PrintableString, T61String, IA5String, VisibleString.
const BYTE_STRINGS: ReadonlySet<number> = new Set([TAG.utf8String, 0x12, 0x13, 0x14, 0x16, 0x1a]);

/** `CN=payments,O=Shop` of a DER Name, most specific part first; cut at 1024 characters. What cannot be read ends it with `?`. */
export function nameText(name: Uint8Array): string {
	const parts: string[] = [];
	const outer = DerReader.of(name);
	const sequence = outer.enter(TAG.sequence, "a name");
	while (sequence.more && parts.length < PARTS_MAX) parts.push(partText(sequence.enter(TAG.set, "a part of a name")));
	if (sequence.fault !== "") parts.push("?");
	return parts.reverse().join(",").slice(0, TEXT_LENGTH_MAX);
}

/**
 * The parts of a DER Name in their order, in a form in which equal ones are equal (RFC 5280 section 7.1): types of string, case and
 * spaces do not distinguish. Undefined where a part is of a kind that cannot be compared so.
 */
export function comparableParts(name: Uint8Array): readonly string[] | undefined {
	const parts: string[] = [];
	const outer = DerReader.of(name);
	const sequence = outer.enter(TAG.sequence, "a name");
	while (sequence.more && parts.length < PARTS_MAX) parts.push(partText(sequence.enter(TAG.set, "a part of a name")));
	if (sequence.more || outer.fault !== "" || parts.some((part) => part.includes("=#"))) return undefined;
	return parts.map((part) => part.toLowerCase().replace(/(?:\\? )+/g, " "));
}

function partText(set: DerReader): string {
	const values: string[] = [];
	while (set.more && values.length < PARTS_MAX) {
		const pair = set.enter(TAG.sequence, "an attribute");
		const oid = pair.oid("the type of an attribute");
		const short = SHORT_NAMES.get(oid);
		const isText = BYTE_STRINGS.has(pair.tag) && short !== undefined;
		const element = pair.element("the value of an attribute");
		values.push(`${short ?? oid}=${isText ? escaped(DerReader.of(element).bytes(element[0] ?? 0, "")) : `#${element.toString("hex")}`}`);
	}
	return values.join("+");
}

/** RFC 4514 section 2.4, and every byte that is not visible ASCII as two hexadecimal digits. */
function escaped(value: Buffer): string {
	let out = "";
	for (let i = 0; i < value.length; i++) {
		const byte = value[i] ?? 0;
		const char = String.fromCharCode(byte);
		const atEdge = (i === 0 && (char === " " || char === "#")) || (i === value.length - 1 && char === " ");
		if (byte < 0x20 || byte >= 0x7f) out += `\\${byte.toString(16).padStart(2, "0").toUpperCase()}`;
		else out += atEdge || '"+,;<>\\='.includes(char) ? `\\${char}` : char;
	}
	return out;
}
