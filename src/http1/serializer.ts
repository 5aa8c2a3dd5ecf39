/**
 * Writes heads. The one choke point before the wire (CVE-2022-31150, CVE-2023-27493): what is relayed comes as validated bytes from a parser,
 * what we add goes through `fieldLine`, which refuses everything that could end a line, whatever its source.
 */
import { latin1 } from "../core/latin1.ts";
import type { FieldTable } from "./field-table.ts";
import { HOP_BY_HOP, NOT_NOMINABLE } from "./fields.ts";
import type { Meaning } from "./meaning.ts";
import { isAll, isFieldValue, isToken, PATH, QUERY } from "./syntax.ts";

/** `Name: value CRLF`. Throws a TypeError on a name that is no token or a value with a control byte: a fault of ours, never of a peer. */
export function fieldLine(name: string, value: string): string {
	if (!isToken(name)) throw new TypeError(`not a field name: ${JSON.stringify(name)}`);
	if (!isFieldValue(value)) throw new TypeError(`not a value for ${name}: ${JSON.stringify(value)}`);
	return `${name}: ${value}\r\n`;
}

/** `fieldLine` for one name, which is checked once instead of at each call. */
export function fieldWriter(name: string): (value: string) => string {
	const prefix = fieldLine(name, "").slice(0, -2);
	return (value) => {
		if (!isFieldValue(value)) throw new TypeError(`not a value for ${name}: ${JSON.stringify(value)}`);
		return `${prefix}${value}\r\n`;
	};
}

/** `METHOD target HTTP/1.1 CRLF`. Throws a TypeError where a part could break the line. */
export function requestLine(method: string, target: string): string {
	if (!isToken(method)) throw new TypeError(`not a method: ${JSON.stringify(method)}`);
	if (target.length === 0 || !isAll(target, PATH | QUERY)) throw new TypeError(`not a request target: ${JSON.stringify(target)}`);
	return `${method} ${target} HTTP/1.1\r\n`;
}

/** `HTTP/1.1 status reason CRLF`. */
export function statusLine(status: number, phrase: string): string {
	if (!Number.isInteger(status) || status < 100 || status > 599) throw new TypeError(`not a status: ${status}`);
	if (!isFieldValue(phrase)) throw new TypeError(`not a reason phrase: ${JSON.stringify(phrase)}`);
	return `HTTP/1.1 ${status} ${phrase}\r\n`;
}

/**
 * The fields of a parsed head that may pass, as lines, order and case kept. Fields stand next to each other in the bytes, so what is
 * kept is copied in runs: one string for each gap, not for each field.
 *
 * @param from where the first run begins: behind the start line, or at it, to copy that as well
 * @param end  behind the last field line (before the empty line)
 * @param dropped ids that do not pass, besides the hop-by-hop ones
 * @param removed further names that do not pass, in lower case
 */
export function relayedLines(
	fields: FieldTable,
	meaning: Meaning,
	from: number,
	end: number,
	dropped: Uint8Array,
	removed?: ReadonlySet<string>,
): string {
	const { ids, count, buffer } = fields;
	const nominated = meaning.nominated;
	let text = "";
	let runStart = from;
	for (let i = 0; i < count; i++) {
		const id = ids[i] as number;
		if (
			HOP_BY_HOP[id] === 0 &&
			dropped[id] === 0 &&
			(nominated === undefined || NOT_NOMINABLE[id] === 1 || !nominated.has(fields.name(i).toLowerCase())) &&
			(removed === undefined || !removed.has(fields.name(i).toLowerCase()))
		)
			continue;
		const nameStart = fields.nameStart(i);
		if (nameStart > runStart) text += latin1(buffer, runStart, nameStart);
		// Behind the CRLF of this field: where the next one begins, or the end of the section.
		runStart = i + 1 < count ? fields.nameStart(i + 1) : end;
	}
	return runStart < end ? text + latin1(buffer, runStart, end) : text;
}

/** The bytes that stand before a chunk: its size and CRLF. The caller writes CRLF behind it. */
export function chunkSizeLine(bytes: number): string {
	return `${bytes.toString(16)}\r\n`;
}

/** Ends a chunked body. `trailers` are lines of `trailerLines`. */
export function lastChunk(trailers: string): string {
	return `0\r\n${trailers}\r\n`;
}
