/**
 * The YAML that policies are usually written in, read in one pass: block mappings and lists, flow collections on one line,
 * plain and simply quoted scalars, comments. What it returns is what the YAML library would return; whatever it is not
 * sure of, it leaves to the library. Measured on 1,000 upstreams: 10 ms instead of 200 ms.
 */
import type { MapEntry, Node, Scalar } from "./tree.ts";

// More than a policy needs; deeper texts get the library's answer.
const DEPTH_MAX = 16;

const SPACE = 0x20;
const DASH = 0x2d;
const HASH = 0x23;
const COLON = 0x3a;
const COMMA = 0x2c;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;

// Names in policies have at most 63 characters, keys of the schema fewer.
const KEY = /([A-Za-z0-9_][\w.-]{0,126}):(?=[ \n]|$)/y;
// Anything else may be an indicator (YAML 1.2.2 section 5.3) or is rare.
const PLAIN_FIRST = /[A-Za-z0-9_/.$]/;
const PRINTABLE = /^[\x20-\x7e]*$/;
// YAML 1.2.2 section 10.3.2, the core schema.
const WORDS: ReadonlyMap<string, Scalar> = new Map<string, Scalar>([
	...["null", "Null", "NULL"].map((word) => [word, null] as const),
	...["true", "True", "TRUE"].map((word) => [word, true] as const),
	...["false", "False", "FALSE"].map((word) => [word, false] as const),
]);
const NUMBER = /^(?:[-+]?(?:\d+|0o[0-7]+|0x[0-9a-fA-F]+|(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$/;
const SIMPLE_NUMBER = /^(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?$/;

/** The tree, or undefined where the text is not of this kind (or not YAML at all). Spans have exact starts only. */
export function readCommonYaml(text: string): Node | undefined {
	return new CommonReader(text).read();
}

/** Every method returns undefined to leave the text to the library. */
class CommonReader {
	readonly #text: string;
	/** Of the line that is being read: its indent, and where its content begins and ends. A line beyond the last has indent -1. */
	#indent = -1;
	#at = 0;
	#end = -1;
	#depth = 0;

	constructor(text: string) {
		this.#text = text;
	}

	read(): Node | undefined {
		this.#nextLine();
		if (this.#indent === -1) return undefined;
		const root = this.#block(this.#indent);
		return this.#indent === -1 ? root : undefined;
	}

	/** Moves on to the next line with content. */
	#nextLine(): void {
		const text = this.#text;
		while (this.#end < text.length) {
			const start = this.#end + 1;
			const newline = text.indexOf("\n", start);
			this.#end = newline === -1 ? text.length : newline;
			let at = start;
			while (text.charCodeAt(at) === SPACE) at++;
			if (at >= this.#end || text.charCodeAt(at) === HASH) continue;
			this.#at = at;
			this.#indent = at - start;
			return;
		}
		this.#indent = -1;
	}

	#block(indent: number): Node | undefined {
		if (++this.#depth > DEPTH_MAX) return undefined;
		const node = this.#isItem() ? this.#list(indent) : this.#map(indent);
		this.#depth--;
		// What is indented further would be the continuation of a scalar, or a mistake.
		return this.#indent > indent ? undefined : node;
	}

	#isItem(): boolean {
		return this.#text.charCodeAt(this.#at) === DASH && (this.#at + 1 === this.#end || this.#text.charCodeAt(this.#at + 1) === SPACE);
	}

	#list(indent: number): Node | undefined {
		const start = this.#at;
		const items: Node[] = [];
		while (this.#indent === indent && this.#isItem()) {
			const at = this.#skipSpaces(this.#at + 1);
			if (this.#endsAt(at)) return undefined;
			const column = indent + at - this.#at;
			this.#at = at;
			// A mapping or list that begins on the line of its dash is a block indented as far as its first character.
			const nested = this.#isItem() || this.#keyAt(at) !== undefined;
			if (nested) this.#indent = column;
			const item = nested ? this.#block(column) : this.#inline(at);
			if (item === undefined || this.#indent > indent) return undefined;
			items.push(item);
		}
		return { kind: "list", items, start, end: start + 1 };
	}

	#map(indent: number): Node | undefined {
		const start = this.#at;
		const entries = new Map<string, MapEntry>();
		while (this.#indent === indent && !this.#isItem()) {
			const keyStart = this.#at;
			const key = this.#keyAt(keyStart);
			if (key === undefined || entries.has(key)) return undefined;
			const keySpan = { start: keyStart, end: keyStart + key.length };
			const at = this.#skipSpaces(keySpan.end + 1);
			const value = this.#endsAt(at) ? this.#valueBelow(indent, keyStart) : this.#inline(at);
			if (value === undefined || this.#indent > indent) return undefined;
			entries.set(key, { keySpan, value });
		}
		return entries.size === 0 ? undefined : { kind: "map", entries, start, end: start + 1 };
	}

	/** What stands on the lines after `key:`; a list may be indented as far as its key. */
	#valueBelow(indent: number, keyStart: number): Node | undefined {
		this.#nextLine();
		if (this.#indent > indent) return this.#block(this.#indent);
		if (this.#indent === indent && this.#isItem()) return this.#list(indent);
		return { kind: "scalar", value: null, start: keyStart, end: keyStart + 1 };
	}

	/** A value that ends on its line; moves on to the next line. */
	#inline(at: number): Node | undefined {
		const node = this.#value(at, false);
		if (node === undefined || !this.#endsAt(this.#skipSpaces(node.end), node.end)) return undefined;
		this.#nextLine();
		return node;
	}

	#value(at: number, inFlow: boolean): Node | undefined {
		switch (this.#text[at]) {
			case '"':
			case "'":
				return this.#quoted(at);
			case "{":
				return this.#flowMap(at);
			case "[":
				return this.#flowList(at);
			default:
				return this.#plain(at, inFlow);
		}
	}

	#flowMap(start: number): Node | undefined {
		if (++this.#depth > DEPTH_MAX) return undefined;
		const entries = new Map<string, MapEntry>();
		let at = this.#skipSpaces(start + 1);
		while (this.#text[at] !== "}") {
			const key = this.#keyAt(at);
			if (key === undefined || entries.has(key)) return undefined;
			const keySpan = { start: at, end: at + key.length };
			const value = this.#value(this.#skipSpaces(keySpan.end + 1), true);
			if (value === undefined) return undefined;
			entries.set(key, { keySpan, value });
			const next = this.#afterItem(value.end, "}");
			if (next === undefined) return undefined;
			at = next;
		}
		this.#depth--;
		return { kind: "map", entries, start, end: at + 1 };
	}

	#flowList(start: number): Node | undefined {
		if (++this.#depth > DEPTH_MAX) return undefined;
		const items: Node[] = [];
		let at = this.#skipSpaces(start + 1);
		while (this.#text[at] !== "]") {
			const item = this.#value(at, true);
			if (item === undefined) return undefined;
			items.push(item);
			const next = this.#afterItem(item.end, "]");
			if (next === undefined) return undefined;
			at = next;
		}
		this.#depth--;
		return { kind: "list", items, start, end: at + 1 };
	}

	/** Where the next item, or the closing bracket, stands. */
	#afterItem(end: number, close: string): number | undefined {
		const at = this.#skipSpaces(end);
		if (this.#text.charCodeAt(at) === COMMA) return this.#skipSpaces(at + 1);
		return this.#text[at] === close ? at : undefined;
	}

	#quoted(start: number): Node | undefined {
		const quote = this.#text[start] ?? "";
		const close = this.#text.indexOf(quote, start + 1);
		if (close === -1 || close >= this.#end || this.#text[close + 1] === quote) return undefined;
		const value = this.#text.slice(start + 1, close);
		if (value.includes("\\") || !PRINTABLE.test(value)) return undefined;
		return { kind: "scalar", value, start, end: close + 1 };
	}

	#plain(start: number, inFlow: boolean): Node | undefined {
		const text = this.#text;
		if (!PLAIN_FIRST.test(text[start] ?? "")) return undefined;
		let end = start;
		let at = start;
		for (; at < this.#end; at++) {
			const c = text.charCodeAt(at);
			if (c === SPACE) continue;
			if (c === HASH && (inFlow || text.charCodeAt(at - 1) === SPACE)) {
				if (inFlow) return undefined;
				break;
			}
			if (c === COLON && (at + 1 === this.#end || text.charCodeAt(at + 1) === SPACE)) return undefined;
			if (inFlow && (c === COMMA || c === BRACKET_CLOSE || c === BRACE_CLOSE)) break;
			if (inFlow && (c === BRACKET_OPEN || c === BRACE_OPEN || (c === COLON && ",[]{}".includes(text[at + 1] ?? "")))) return undefined;
			end = at + 1;
		}
		// A plain scalar in brackets may go on in the next line.
		if (inFlow && at === this.#end) return undefined;
		const source = text.slice(start, end);
		if (!PRINTABLE.test(source)) return undefined;
		const value = resolve(source);
		return value === undefined ? undefined : { kind: "scalar", value, start, end };
	}

	#keyAt(at: number): string | undefined {
		KEY.lastIndex = at;
		const key = KEY.exec(this.#text)?.[1];
		return key === undefined || WORDS.has(key) || NUMBER.test(key) ? undefined : key;
	}

	#skipSpaces(from: number): number {
		let at = from;
		while (this.#text.charCodeAt(at) === SPACE) at++;
		return at;
	}

	/** Whether nothing but perhaps a comment follows; a comment needs a space before it. */
	#endsAt(at: number, after = at - 1): boolean {
		return at >= this.#end || (this.#text.charCodeAt(at) === HASH && at > after);
	}
}

/** The value of a plain scalar; undefined for numbers in unusual notation. */
function resolve(source: string): Scalar | undefined {
	const word = WORDS.get(source);
	if (word !== undefined) return word;
	if (!NUMBER.test(source)) return source;
	return SIMPLE_NUMBER.test(source) ? Number(source) : undefined;
}
