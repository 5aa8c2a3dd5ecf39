/** Reads the text of a regular expression into its parts, as far as a machine without backtracking can run them. */

/** Pairs of first and last code point. */
export interface CharSet {
	readonly ranges: readonly number[];
	readonly negated: boolean;
}

export type PatternPart =
	| { readonly kind: "set"; readonly set: CharSet }
	| { readonly kind: "start" | "end" }
	| { readonly kind: "sequence" | "choice"; readonly of: readonly PatternPart[] }
	| { readonly kind: "repeat"; readonly part: PatternPart; readonly min: number; readonly max: number };

const CODE_MAX = 0x10ffff;
const DIGITS = [0x30, 0x39];
const WORDS = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const SPACES = [
	0x09, 0x0d, 0x20, 0x20, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000, 0xfeff, 0xfeff,
];
const LINE_ENDS = [0x0a, 0x0a, 0x0d, 0x0d, 0x2028, 0x2029];
const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, "0": 0 };
/** The second half of a character in UTF-16, written as an escape. */
const LOW = /^\\u(d[c-f][0-9a-f]{2})/i;
const REPEAT_MAX = 1000;
const GROUPS_MAX = 32;

export class PatternReader {
	readonly #chars: readonly string[];
	#at = 0;
	#groups = 0;
	fault = "";

	constructor(source: string) {
		this.#chars = [...source];
	}

	read(): PatternPart | undefined {
		const part = this.#choice();
		if (part !== undefined && this.#at < this.#chars.length) return this.#fail("has a ) too many");
		return part;
	}

	#choice(): PatternPart | undefined {
		const of: PatternPart[] = [];
		do {
			const sequence = this.#sequence();
			if (sequence === undefined) return undefined;
			of.push(sequence);
		} while (this.#take("|"));
		return of.length === 1 ? of[0] : { kind: "choice", of };
	}

	#sequence(): PatternPart | undefined {
		const of: PatternPart[] = [];
		for (let char = this.#peek(); char !== undefined && char !== "|" && char !== ")"; char = this.#peek()) {
			const part = this.#repeated();
			if (part === undefined) return undefined;
			of.push(part);
		}
		return { kind: "sequence", of };
	}

	#repeated(): PatternPart | undefined {
		const part = this.#atom();
		if (part === undefined) return undefined;
		const bounds = this.#bounds();
		if (bounds === "none") return part;
		if (bounds === undefined) return undefined;
		if (part.kind === "start" || part.kind === "end") return this.#fail("repeats ^ or $");
		// Lazy or not makes no difference to whether it matches.
		this.#take("?");
		if (this.#bounds() !== "none") return this.#fail("repeats a repetition; put it in ( )");
		return { kind: "repeat", part, ...bounds };
	}

	#bounds(): { min: number; max: number } | "none" | undefined {
		if (this.#take("*")) return { min: 0, max: Number.POSITIVE_INFINITY };
		if (this.#take("+")) return { min: 1, max: Number.POSITIVE_INFINITY };
		if (this.#take("?")) return { min: 0, max: 1 };
		if (this.#peek() !== "{") return "none";
		const found = /^\{(\d{1,4})(?:(,)(\d{1,4})?)?\}/.exec(this.#chars.slice(this.#at, this.#at + 12).join(""));
		if (found === null) return this.#fail("has a { that begins no number of times; write \\{ for the character");
		this.#at += found[0].length;
		const min = Number(found[1]);
		const max = found[2] === undefined ? min : found[3] === undefined ? Number.POSITIVE_INFINITY : Number(found[3]);
		if (min > REPEAT_MAX || (max !== Number.POSITIVE_INFINITY && max > REPEAT_MAX)) return this.#fail(`repeats more than ${REPEAT_MAX} times`);
		return min > max ? this.#fail("repeats from more to less") : { min, max };
	}

	#atom(): PatternPart | undefined {
		const char = this.#chars[this.#at++] as string;
		switch (char) {
			case "^":
				return { kind: "start" };
			case "$":
				return { kind: "end" };
			case ".":
				return { kind: "set", set: { ranges: LINE_ENDS, negated: true } };
			case "(":
				return this.#group();
			case "[":
				return this.#class();
			case "\\": {
				const set = this.#escape();
				return set === undefined ? undefined : { kind: "set", set };
			}
			case "*":
			case "+":
			case "?":
			case "{":
			case "}":
			case "]":
				return this.#fail(`has a ${char} without meaning; write \\${char} for the character`);
			default:
				return { kind: "set", set: only(char) };
		}
	}

	#group(): PatternPart | undefined {
		if (++this.#groups > GROUPS_MAX) return this.#fail(`has more than ${GROUPS_MAX} groups`);
		if (this.#take("?") && !this.#take(":")) return this.#fail("looks around or names a group, which takes backtracking; use ( ) or (?: )");
		const part = this.#choice();
		if (part === undefined) return undefined;
		return this.#take(")") ? part : this.#fail("has a ( that is not closed");
	}

	#class(): PatternPart | undefined {
		const negated = this.#take("^");
		const ranges: number[] = [];
		while (!this.#take("]")) {
			const first = this.#member();
			if (first === undefined) return undefined;
			if (this.#peek() !== "-" || this.#chars[this.#at + 1] === "]" || single(first) === undefined) {
				if (first.negated) ranges.push(...inverse(first.ranges));
				else ranges.push(...first.ranges);
				continue;
			}
			this.#at++;
			const last = this.#member();
			if (last === undefined) return undefined;
			const [from, to] = [single(first), single(last)];
			if (from === undefined || to === undefined || from > to) return this.#fail("has a range in [ ] that is none");
			ranges.push(from, to);
		}
		return { kind: "set", set: { ranges, negated } };
	}

	#member(): CharSet | undefined {
		const char = this.#chars[this.#at++];
		if (char === undefined) return this.#fail("has a [ that is not closed");
		return char === "\\" ? this.#escape() : only(char);
	}

	#escape(): CharSet | undefined {
		const char = this.#chars[this.#at++];
		if (char === undefined) return this.#fail("ends with a single \\");
		if (char === "d" || char === "D") return { ranges: DIGITS, negated: char === "D" };
		if (char === "w" || char === "W") return { ranges: WORDS, negated: char === "W" };
		if (char === "s" || char === "S") return { ranges: SPACES, negated: char === "S" };
		const control = CONTROLS[char];
		if (control !== undefined) return { ranges: [control, control], negated: false };
		if (char === "u" || char === "x") return this.#hexadecimal(char === "u" ? 4 : 2);
		if (/^[A-Za-z0-9]$/.test(char)) return this.#fail(`has \\${char}, which is not supported`);
		return only(char);
	}

	#hexadecimal(digits: number): CharSet | undefined {
		const text = this.#chars.slice(this.#at, this.#at + digits).join("");
		if (!/^[0-9A-Fa-f]+$/.test(text) || text.length !== digits) return this.#fail(`has an escape without its ${digits} hexadecimal digits`);
		this.#at += digits;
		const code = Number.parseInt(text, 16);
		// A character beyond 0xffff is written as two, and is one.
		const low = digits === 4 && isHigh(code) ? LOW.exec(this.#chars.slice(this.#at, this.#at + 6).join("")) : null;
		if (low === null) return { ranges: [code, code], negated: false };
		this.#at += low[0].length;
		return only(String.fromCharCode(code, Number.parseInt(low[1] ?? "", 16)));
	}

	#peek(): string | undefined {
		return this.#chars[this.#at];
	}

	#take(char: string): boolean {
		if (this.#chars[this.#at] !== char) return false;
		this.#at++;
		return true;
	}

	#fail(reason: string): undefined {
		if (this.fault === "") this.fault = reason;
		return undefined;
	}
}

function isHigh(code: number): boolean {
	return code >= 0xd800 && code <= 0xdbff;
}

function only(char: string): CharSet {
	const code = char.codePointAt(0) ?? 0;
	return { ranges: [code, code], negated: false };
}

function single({ ranges, negated }: CharSet): number | undefined {
	return !negated && ranges.length === 2 && ranges[0] === ranges[1] ? ranges[0] : undefined;
}

/** Of ranges in ascending order. */
function inverse(ranges: readonly number[]): number[] {
	const result: number[] = [];
	let from = 0;
	for (let i = 0; i < ranges.length; i += 2) {
		if ((ranges[i] as number) > from) result.push(from, (ranges[i] as number) - 1);
		from = (ranges[i + 1] as number) + 1;
	}
	return [...result, from, CODE_MAX];
}
