/** Patterns of LIKE: `%` any run of characters, `_` one character, `\%` and `\_` themselves. */

/** What a pattern asks of the beginning of a value. */
export interface LikeHead {
	readonly prefix: string;
	/** The pattern is this text and nothing else. */
	readonly exact: boolean;
}

/** One run between two `%`: its characters, where undefined is `_`. */
type Run = readonly (string | undefined)[];

export function compileLike(pattern: string): (text: string) => boolean {
	const runs = readRuns(pattern);
	return runs.every((run) => !run.includes(undefined)) ? compileWords(runs.map((run) => run.join(""))) : compileRuns(runs);
}

export function likeHead(pattern: string): LikeHead {
	const runs = readRuns(pattern);
	const first = runs[0] as Run;
	const blank = first.indexOf(undefined);
	return { prefix: first.slice(0, blank < 0 ? first.length : blank).join(""), exact: runs.length === 1 && blank < 0 };
}

function readRuns(pattern: string): Run[] {
	const runs: (string | undefined)[][] = [[]];
	const chars = [...pattern];
	for (let i = 0; i < chars.length; i++) {
		const char = chars[i] as string;
		const run = runs.at(-1) as (string | undefined)[];
		if (char === "%") runs.push([]);
		else if (char === "_") run.push(undefined);
		else if (char === "\\" && (chars[i + 1] === "%" || chars[i + 1] === "_")) run.push(chars[++i]);
		else run.push(char);
	}
	return runs;
}

/** Text between the `%`, looked for once, from the left. */
function compileWords(words: readonly string[]): (text: string) => boolean {
	const head = words[0] as string;
	if (words.length === 1) return (text) => text === head;
	const tail = words.at(-1) as string;
	const middle = words.slice(1, -1).filter((word) => word !== "");
	if (middle.length === 0 && tail === "") return (text) => text.startsWith(head);
	const least = head.length + tail.length;
	return (text) => {
		if (text.length < least || !text.startsWith(head) || !text.endsWith(tail)) return false;
		let at = head.length;
		for (const word of middle) {
			const found = text.indexOf(word, at);
			if (found < 0) return false;
			at = found + word.length;
		}
		return at <= text.length - tail.length;
	};
}

/** The same by characters: `_` is one of Unicode, not half a pair. */
function compileRuns(runs: readonly Run[]): (text: string) => boolean {
	const head = runs[0] as Run;
	const tail = runs.at(-1) as Run;
	const middle = runs.slice(1, -1);
	return (text) => {
		const chars = [...text];
		if (runs.length === 1) return chars.length === head.length && fits(head, chars, 0);
		const last = chars.length - tail.length;
		if (last < head.length || !fits(head, chars, 0) || !fits(tail, chars, last)) return false;
		let at = head.length;
		for (const run of middle) {
			while (at + run.length <= last && !fits(run, chars, at)) at++;
			if (at + run.length > last) return false;
			at += run.length;
		}
		return true;
	};
}

function fits(run: Run, chars: readonly string[], at: number): boolean {
	for (let i = 0; i < run.length; i++) {
		const wanted = run[i];
		if (wanted !== undefined && wanted !== chars[at + i]) return false;
	}
	return true;
}
