/** Dead letters have another try, before live events; what arrives is a letter no more. */
import type { Clock } from "../../core/clock.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import { type DeadLetter, type DeadLetters, placeBefore, storedEventOf } from "./dead-letters.ts";
import type { ReplayOutcome } from "./delivery.ts";
import { parseStored } from "./feed.ts";
import { REPLAY_WINDOW } from "./limits.ts";
import type { Refusal } from "./refusal.ts";
import type { Subscription } from "./subscription.ts";

export interface ReplayWish {
	/** At most so many. */
	readonly count: number;
	/** Undefined: all. */
	readonly matches: ((event: CloudEvent) => boolean) | undefined;
	readonly sequences: ReadonlySet<number> | undefined;
	/** Those that have not ended by then go on; they are told as pending. */
	readonly waitMs: number;
}

export interface ReplayResult {
	readonly recovered: number;
	/** Parked again, with the new error. */
	readonly stillFailed: number;
	/** Under way, or for a member that is none any more. */
	readonly pending: number;
}

const PAGE_LETTERS = 200;

/** Walks over the letters that are there now, a few under way at a time. Where they cannot be read those that are under way go on. */
export async function replayLetters(
	letters: DeadLetters,
	subscription: Subscription,
	wish: ReplayWish,
	clock: Clock,
): Promise<({ readonly ok: true } & ReplayResult) | Refusal> {
	const tally = { recovered: 0, failed: 0, gone: 0 };
	const flying = new Set<Promise<void>>();
	const time = Promise.withResolvers<"over">();
	const timer = clock.setTimer(wish.waitMs, () => time.resolve("over"));
	let isOver = false;
	void time.promise.then(() => {
		isOver = true;
	});
	let begun = 0;
	for await (const letter of chosen(letters, subscription.name, wish)) {
		if ("fault" in letter) {
			timer.cancel();
			return { ok: false, failure: "unavailable", detail: letter.fault };
		}
		while (flying.size >= REPLAY_WINDOW && !isOver) await Promise.race([...flying, time.promise]);
		if (isOver || begun === wish.count) break;
		begun++;
		const run = tryAgain(subscription, letter).then((outcome) => {
			tally[outcome]++;
			flying.delete(run);
		});
		flying.add(run);
	}
	await Promise.race([Promise.all(flying), time.promise]);
	timer.cancel();
	return { ok: true, recovered: tally.recovered, stillFailed: tally.failed, pending: tally.gone + flying.size };
}

async function* chosen(
	letters: DeadLetters,
	name: string,
	{ matches, sequences }: ReplayWish,
): AsyncGenerator<DeadLetter | { readonly fault: string }> {
	// Whoever has a great many of them replayed names a few with each call: the others are not read again each time.
	const [first, last] = sequences === undefined ? [0, Number.POSITIVE_INFINITY] : [Math.min(...sequences), Math.max(...sequences)];
	for (let after = first === 0 ? undefined : placeBefore(first); ; ) {
		const page = await letters.page(name, after, PAGE_LETTERS);
		if ("fault" in page) {
			yield page;
			return;
		}
		for (const letter of page.letters) {
			if (letter.sequence > last) return;
			if (sequences !== undefined && !sequences.has(letter.sequence)) continue;
			const event = matches === undefined ? undefined : parseStored(storedEventOf(letter));
			if (matches === undefined || (event !== undefined && matches(event))) yield letter;
		}
		after = page.next;
		if (after === undefined) return;
	}
}

function tryAgain({ branches }: Subscription, letter: DeadLetter): Promise<ReplayOutcome> {
	const branch = branches.find(({ member }) => member === letter.member);
	const stored = storedEventOf(letter);
	const event = parseStored(stored);
	if (branch === undefined || event === undefined) return Promise.resolve("gone");
	return branch.dispatcher.replay(stored, event, letter.attempts);
}
