/** How far a subscription has come, as one small text: a position, and the events up to it that are not settled yet. Pure. */

/**
 * Every event of the subscription up to `position` is settled, but for `open`: in the order of sequences, at most a window of them. What
 * came out of order costs nothing to remember; what is still open does.
 */
export interface Progress {
	/** Of the subscription: see subscription-record.ts. */
	readonly life: number;
	readonly position: number;
	/** When it was so, by the wall clock of whoever wrote it. */
	readonly atMs: number;
	readonly open: readonly OpenEvent[];
}

export interface OpenEvent {
	readonly sequence: number;
	/** Tries that have begun. */
	readonly attempts: number;
	/** How long it was still to wait then. A clock that was set since, or another node's, makes it no longer. */
	readonly waitMs: number;
}

/** As it stands in the state; see `encodeProgress`. */
export interface ProgressText {
	readonly life: number;
	readonly position: number;
	/** `STEP[.ATTEMPTS[.SECONDS]]` each, base 36, with commas between: the step from the sequence before, the seconds since `epoch`. */
	readonly open: string;
	/** Seconds since 1970. */
	readonly epoch: number;
}

const BASE = 36;
const OPEN = /^[0-9a-z]+(\.[0-9a-z]+){0,2}$/;

export function encodeProgress({ life, position, atMs, open }: Progress): ProgressText {
	const epoch = Math.floor(atMs / 1000);
	let text = "";
	let before = 0;
	for (const { sequence, attempts, waitMs } of open) {
		// Less than a second is not worth its place.
		const wait = waitMs === 0 ? 0 : Math.round((atMs + waitMs) / 1000) - epoch;
		text += `${text === "" ? "" : ","}${(sequence - before).toString(BASE)}`;
		if (wait > 0) text += `.${attempts.toString(BASE)}.${wait.toString(BASE)}`;
		else if (attempts > 0) text += `.${attempts.toString(BASE)}`;
		before = sequence;
	}
	return { life, position, open: text, epoch };
}

/** Undefined where it is no progress: the subscription begins where its document says. */
export function decodeProgress(value: unknown): Progress | undefined {
	if (typeof value !== "object" || value === null) return undefined;
	const { life, position, open, epoch } = value as Partial<ProgressText>;
	if (!isCount(life) || !isCount(position) || !isCount(epoch) || typeof open !== "string") return undefined;
	const events: OpenEvent[] = [];
	let sequence = 0;
	for (const part of open === "" ? [] : open.split(",")) {
		if (!OPEN.test(part)) return undefined;
		const [step = 0, attempts = 0, wait = 0] = part.split(".").map((digits) => Number.parseInt(digits, BASE));
		sequence += step;
		events.push({ sequence, attempts, waitMs: wait * 1000 });
	}
	return sequence <= position && Number.isSafeInteger(sequence) ? { life, position, atMs: epoch * 1000, open: events } : undefined;
}

function isCount(value: unknown): value is number {
	return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
