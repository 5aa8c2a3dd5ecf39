/** Which trailer fields may pass (RFC 9110 section 6.5.1), written as lines. */
import type { FieldTable } from "./field-table.ts";
import { isAllowedTrailer } from "./fields.ts";

/** The relayable fields as `Name: value CRLF` each; "" where none is left. The parser has validated names and values. */
export function trailerLines(fields: FieldTable): string {
	let lines = "";
	for (let i = 0; i < fields.count; i++) {
		const name = fields.name(i);
		if (isAllowedTrailer(name.toLowerCase())) lines += `${name}: ${fields.value(i)}\r\n`;
	}
	return lines;
}
