/** Damaged texts from sound ones, the same for one seed on every machine. */
import type { Rng } from "../../src/core/rng.ts";

const BITS = [
	"\t",
	" ",
	"\n",
	":",
	"-",
	"{",
	"}",
	"[",
	"]",
	",",
	'"',
	"'",
	"#",
	"&a ",
	"*a",
	"!x ",
	"|\n",
	">",
	"%",
	"@",
	"${",
	"}",
	"\0",
	"\r",
	"é",
	"\u{1f600}",
	"- ",
	"? ",
	"---\n",
	"0",
	"null",
	"{}",
	"[]",
	"~",
	"5s",
	"\ufeff",
];

/** One edit: something cut, put in, repeated or moved. */
export function damage(text: string, rng: Rng): string {
	const at = int(rng, text.length + 1);
	switch (int(rng, 6)) {
		case 0:
			return text.slice(0, at) + text.slice(at + 1 + int(rng, 8));
		case 1:
			return text.slice(0, at) + one(rng, BITS) + text.slice(at);
		case 2:
			return text.slice(0, at) + one(rng, BITS) + text.slice(at + 1);
		case 3: {
			const from = int(rng, text.length);
			return text.slice(0, at) + text.slice(from, from + int(rng, 60)) + text.slice(at);
		}
		case 4:
			return text.slice(0, at);
		default: {
			const lines = text.split("\n");
			const line = int(rng, lines.length);
			lines.splice(line, 1, ...(rng() < 0.5 ? [] : [lines[line] ?? "", `${" ".repeat(int(rng, 5))}${(lines[line] ?? "").trim()}`]));
			return lines.join("\n");
		}
	}
}

export function int(rng: Rng, below: number): number {
	return Math.floor(rng() * below);
}

export function one<T>(rng: Rng, items: readonly T[]): T {
	return items[int(rng, items.length)] as T;
}
