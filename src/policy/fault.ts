/** What is wrong with a policy, and how it is shown to the person who wrote it. */
import type { Place } from "./snapshot.ts";

export interface PolicyFault {
	readonly place: Place;
	/** How many columns the caret underlines, at least 1. */
	readonly width: number;
	/** `upstreams.payments.timeout.request`; empty for the file as a whole. */
	readonly path: string;
	/** One sentence: what is wrong. */
	readonly message: string;
	/** One sentence: what to write instead; empty where the message says it all. */
	readonly hint: string;
}

/** The answer of the small parsers of this room: the predicate of a sentence about the value, and what to write instead. */
export interface Refusal {
	readonly refused: string;
	readonly hint: string;
}

export function refuse(refused: string, hint: string): Refusal {
	return { refused, hint };
}

export function isRefusal(value: unknown): value is Refusal {
	return typeof value === "object" && value !== null && "refused" in value;
}

// A person mends a screenful at a time; a file that is no policy at all has a fault on every line.
const SHOWN_MAX = 50;
// Longer lines are cut around the caret, so that the frame fits a terminal.
const FRAME_COLUMNS = 110;

export interface FormatOptions {
	/** ANSI colours; only for terminals. */
	readonly color?: boolean;
}

/** `file:line:column: message`, the line of `text` with a caret below, and the hint, for each fault. */
export function formatFaults(faults: readonly PolicyFault[], text: string, { color = false }: FormatOptions = {}): string {
	const lines = text.split("\n");
	const shown = faults.slice(0, SHOWN_MAX).map((fault) => formatFault(fault, lines, color));
	if (faults.length > SHOWN_MAX) shown.push(`... and ${faults.length - SHOWN_MAX} more\n`);
	return shown.join("\n");
}

function formatFault(fault: PolicyFault, lines: readonly string[], color: boolean): string {
	const { file, line, column } = fault.place;
	const red = (s: string) => (color ? `\x1b[31m${s}\x1b[39m` : s);
	const bold = (s: string) => (color ? `\x1b[1m${s}\x1b[22m` : s);
	const dim = (s: string) => (color ? `\x1b[2m${s}\x1b[22m` : s);
	let out = `${bold(`${file}:${line}:${column}:`)} ${red(fault.message)}\n`;
	const source = lines[line - 1];
	if (source !== undefined && source.trim() !== "") {
		const cut = column > FRAME_COLUMNS - 20 ? column - 40 : 0;
		const visible = printable(source.slice(cut, cut + FRAME_COLUMNS));
		const width = Math.max(1, Math.min(fault.width, visible.length - (column - 1 - cut)));
		const gutter = String(line);
		out += `${dim(`${gutter} |`)} ${visible}\n`;
		out += `${dim(`${" ".repeat(gutter.length)} |`)} ${" ".repeat(column - 1 - cut)}${red("^".repeat(width))}\n`;
	}
	if (fault.hint !== "") out += `  hint: ${fault.hint}\n`;
	return out;
}

/** One column for each character, and nothing that a terminal would obey. */
export function printable(source: string): string {
	let out = "";
	for (let i = 0; i < source.length; i++) {
		const c = source.charCodeAt(i);
		out += c === 0x09 || c === 0x0d ? " " : c < 0x20 || (c >= 0x7f && c < 0xa0) ? "\ufffd" : source[i];
	}
	return out;
}

/** From an offset in the text that was read to where that stands for a person. */
export interface Lines {
	place(offset: number): Place;
}

/** Line and column of an offset; the line starts are only looked for when the first place is asked for. */
export class LineIndex implements Lines {
	readonly #file: string;
	readonly #text: string;
	#starts: number[] | undefined;

	constructor(text: string, file: string) {
		this.#text = text;
		this.#file = file;
	}

	place(offset: number): Place {
		this.#starts ??= lineStarts(this.#text);
		let low = 0;
		let high = this.#starts.length - 1;
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if ((this.#starts[middle] ?? 0) <= offset) low = middle;
			else high = middle - 1;
		}
		return Object.freeze({ file: this.#file, line: low + 1, column: offset - (this.#starts[low] ?? 0) + 1 });
	}
}

function lineStarts(text: string): number[] {
	const starts = [0];
	for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
	return starts;
}
