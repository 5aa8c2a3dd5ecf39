/** A filter compiled once per query: names are tested once per block, events by numbers. */
import { type BlockHead, rowSource, rowSubjectHash, rowType } from "./block-codec.ts";
import type { EventFilter } from "./event-log.ts";
import type { NameTest } from "./extent.ts";

export interface EventMatcher {
	readonly names: NameTest;
	readonly sinceMs: number;
	readonly untilMs: number;
	/** A test of the rows of one block; undefined where none can match. */
	forBlock(head: BlockHead): ((row: number) => boolean) | undefined;
	/** What the rows cannot say for sure; only for rows that passed. */
	confirms(json: Buffer): boolean;
}

/** `subjectHash` is the log's own hash of a subject. */
export function compileMatcher(filter: EventFilter, subjectHash: (subject: string) => number): EventMatcher {
	const type = filter.type === undefined || filter.type === "*" ? undefined : compilePattern(filter.type);
	const { source, subject } = filter;
	const wantedSubject = subject === undefined ? undefined : subjectHash(subject);
	return {
		names: { type, source },
		sinceMs: filter.sinceMs ?? Number.NEGATIVE_INFINITY,
		untilMs: filter.untilMs ?? Number.POSITIVE_INFINITY,
		forBlock(head) {
			const types = type === undefined ? undefined : head.types.map(type);
			if (types?.every((matches) => !matches)) return undefined;
			const sourceIndex = source === undefined ? -1 : head.sources.indexOf(source);
			if (source !== undefined && sourceIndex < 0) return undefined;
			return (row) =>
				(types === undefined || types[rowType(head.rows, row)] === true) &&
				(source === undefined || rowSource(head.rows, row) === sourceIndex) &&
				(wantedSubject === undefined || rowSubjectHash(head.rows, row) === wantedSubject);
		},
		confirms: (json) => subject === undefined || (JSON.parse(json.toString()) as { subject?: unknown }).subject === subject,
	};
}

/** `*` stands for any run of characters, also an empty one. Linear: each part is looked for once, from the left. */
export function compilePattern(pattern: string): (text: string) => boolean {
	const parts = pattern.split("*");
	if (parts.length === 1) return (text) => text === pattern;
	const head = parts[0] as string;
	const tail = parts.at(-1) as string;
	const middle = parts.slice(1, -1).filter((part) => part !== "");
	return (text) => {
		if (text.length < head.length + tail.length || !text.startsWith(head) || !text.endsWith(tail)) return false;
		let at = head.length;
		for (const part of middle) {
			const found = text.indexOf(part, at);
			if (found < 0) return false;
			at = found + part.length;
		}
		return at <= text.length - tail.length;
	};
}
