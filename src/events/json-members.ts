/** Finds where each member of a JSON array stands in its bytes, so that events are stored as their senders wrote them. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const SPACE = 0x20;

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

function stringEnd(json: Buffer, open: number): number {
	let i = open + 1;
	while (json[i] !== QUOTE) i += json[i] === BACKSLASH ? 2 : 1;
	return i;
}
