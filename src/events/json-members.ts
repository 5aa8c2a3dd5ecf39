/** Finds where each member of a JSON array stands in its bytes, so that events are stored as their senders wrote them. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const SPACE = 0x20;
/** Ids and times are shorter. */
const WALKED_BYTES = 40;

/**
 * Start and end (exclusive) of each member, in pairs, without surrounding white space. `json` must be an array that `JSON.parse` has accepted:
 * nothing is validated again here.
 */
export function arrayMembers(json: Buffer): number[] {
	const bounds: number[] = [];
	let depth = 0;
	let start = -1;
	let end = 0;
	for (let i = 0; i < json.length; i++) {
		const byte = json[i] as number;
		if (byte <= SPACE) continue;
		if (byte === QUOTE) {
			if (start < 0) start = i;
			i = stringEnd(json, i);
		} else if (byte === 0x5b || byte === 0x7b) {
			if (depth === 1 && start < 0) start = i;
			depth++;
		} else if (byte === 0x5d || byte === 0x7d) {
			depth--;
			if (depth === 0) {
				if (start >= 0) bounds.push(start, end);
				return bounds;
			}
		} else if (byte === COMMA) {
			if (depth === 1) {
				bounds.push(start, end);
				start = -1;
			}
			continue;
		} else if (start < 0) start = i;
		end = i + 1;
	}
	return bounds;
}

/** Short strings are walked; the end of a long one is searched for, which costs a call and then nearly nothing a byte. */
function stringEnd(json: Buffer, open: number): number {
	let i = open + 1;
	const walkTo = i + WALKED_BYTES;
	while (json[i] !== QUOTE) {
		if (i >= walkTo) return searchedEnd(json, i);
		i += json[i] === BACKSLASH ? 2 : 1;
	}
	return i;
}

/** `from`: within the string, and no escaped character. */
function searchedEnd(json: Buffer, from: number): number {
	for (let at = json.indexOf(QUOTE, from); ; at = json.indexOf(QUOTE, at + 1)) {
		let backslashes = 0;
		while (at - 1 - backslashes >= from && json[at - 1 - backslashes] === BACKSLASH) backslashes++;
		if (backslashes % 2 === 0) return at;
	}
}
