/** What the node that dispatches a branch writes down of it beside its progress, for the nodes that do not. */
import type { DispatchCounts } from "./dispatch-counts.ts";
import { ANSWER_CHARS_MAX } from "./limits.ts";

/** Of the tries since the node has it. */
type Counts = Pick<DispatchCounts, "acked" | "naked" | "timedOut" | "terminated" | "parked" | "missed">;

export interface Figures extends Counts {
	/** Wall clock of the receipt of the oldest open event; 0 where none is open. */
	readonly oldestAtMs: number;
	readonly isStalled: boolean;
	/** What keeps events from arriving; "" where nothing is known. */
	readonly trouble: string;
	/** Of the subscription. */
	readonly deadLetters: number;
}

export const NO_FIGURES: Figures = Object.freeze({
	acked: 0,
	naked: 0,
	timedOut: 0,
	terminated: 0,
	parked: 0,
	missed: 0,
	oldestAtMs: 0,
	isStalled: false,
	trouble: "",
	deadLetters: 0,
});

export function figuresOf({ acked, naked, timedOut, terminated, parked, missed }: DispatchCounts, others: Omit<Figures, keyof Counts>): Figures {
	// A cursor is small, and its open events come first.
	const trouble = others.trouble.slice(0, ANSWER_CHARS_MAX / 4);
	return { acked, naked, timedOut, terminated, parked, missed, ...others, trouble };
}

/** Of a cursor as the state has it; nothing but zeros where it has none. */
export function figuresIn(cursor: unknown): Figures {
	const { figures } = (cursor ?? {}) as { readonly figures?: Partial<Figures> };
	return { ...NO_FIGURES, ...figures };
}
