/** Cuts a CESQL expression into tokens, one at a time, each with its place. */
import type { CesqlError } from "./cesql-syntax.ts";

export type TokenKind = "word" | "integer" | "string" | "symbol" | "end" | "fault";

const SPACES = new Set([" ", "\t", "\r", "\n"]);
const SYMBOLS_OF_TWO = new Set(["!=", "<>", "<=", ">="]);
const SYMBOLS = new Set(["(", ")", ",", "+", "-", "*", "/", "%", "=", "<", ">"]);

/** Stands on one token; `next` goes on. A fault ends it: it stays there. */
export class Lexer {
	readonly #text: string;
	#position = 0;
	kind: TokenKind = "end";
	/** Offsets of the token. */
	at = 0;
	end = 0;
	/** The word or symbol as it is written, digits, or what a string stands for. */
	value = "";
	fault: CesqlError | undefined;

	constructor(text: string) {
		this.#text = text;
		this.next();
	}

	/** In capitals: keywords and functions are the same in any case. */
	get upper(): string {
		return this.value.toUpperCase();
	}

	isSymbol(symbol: string): boolean {
		return this.kind === "symbol" && this.value === symbol;
	}

	isWord(word: string): boolean {
		return this.kind === "word" && this.upper === word;
	}

	/** True where the next token is made of digits and touches this one: a sign of a number. */
	get touchesDigits(): boolean {
		return isDigit(this.#text.charAt(this.end));
	}

	/** Without going on: the character behind this token and white space. */
	get peek(): string {
		let i = this.end;
		while (SPACES.has(this.#text.charAt(i))) i++;
		return this.#text.charAt(i);
	}

	next(): void {
		if (this.kind === "fault") return;
		while (SPACES.has(this.#text.charAt(this.#position))) this.#position++;
		this.at = this.#position;
		const char = this.#text.charAt(this.at);
		if (char === "") this.#token("end", 0);
		else if (isWordChar(char)) this.#word();
		else if (char === "'" || char === '"') this.#string(char);
		else if (SYMBOLS_OF_TWO.has(this.#text.slice(this.at, this.at + 2))) this.#token("symbol", 2);
		else if (SYMBOLS.has(char)) this.#token("symbol", 1);
		else this.#fail(this.at, `${JSON.stringify(String.fromCodePoint(this.#text.codePointAt(this.at) ?? 0))} has no meaning here`);
	}

	#word(): void {
		let length = 1;
		while (isWordChar(this.#text.charAt(this.at + length))) length++;
		this.#token("word", length);
		if (/^[0-9]+$/.test(this.value)) this.kind = "integer";
	}

	/** Only the quote that ends it can be escaped; every other backslash stands for itself. */
	#string(quote: string): void {
		let value = "";
		let from = this.at + 1;
		for (let i = from; i < this.#text.length; i++) {
			const char = this.#text.charAt(i);
			if (char === "\\" && this.#text.charAt(i + 1) === quote) {
				value += this.#text.slice(from, i);
				from = ++i;
			} else if (char === quote) {
				this.#token("string", i + 1 - this.at);
				this.value = value + this.#text.slice(from, i);
				return;
			}
		}
		this.#fail(this.at, `the string that begins here has no ${quote} at its end`);
	}

	#token(kind: TokenKind, length: number): void {
		this.kind = kind;
		this.end = this.at + length;
		this.#position = this.end;
		this.value = this.#text.slice(this.at, this.end);
	}

	#fail(at: number, message: string): void {
		this.kind = "fault";
		this.value = "";
		this.fault = { kind: "parse", at, message };
	}
}

function isDigit(char: string): boolean {
	return char >= "0" && char <= "9";
}

function isWordChar(char: string): boolean {
	return (char >= "a" && char <= "z") || isDigit(char) || (char >= "A" && char <= "Z") || char === "_";
}
