/** What a node tells the others about the subscriptions that it dispatches, and what that is for all of them together. */
import { type SubscriptionTrouble, subscriptionTrouble, TROUBLED_SHOWN_MAX } from "../subscriptions/metrics.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";

export interface DispatchFigures {
	readonly count: number;
	/** Of the one that is furthest behind; events of the log that it has not looked at, and those it has open. */
	readonly lag: number;
	readonly oldestAgeMs: number;
	/** Those that are stalled or broken; undefined where all is well. */
	readonly trouble?: SubscriptionTrouble;
}

export interface DispatchView extends DispatchFigures {
	/** Whether it takes its share of the slices: not while it stops, nor for a while after it could not. */
	readonly isTaking: boolean;
	readonly slices: readonly number[];
}

export function figuresOf(subscriptions: Subscriptions): DispatchFigures {
	let count = 0;
	let lag = 0;
	let oldestAgeMs = 0;
	for (const { numbers } of subscriptions.values()) {
		count++;
		lag = Math.max(lag, numbers.unread + numbers.open);
		oldestAgeMs = Math.max(oldestAgeMs, numbers.oldestAgeMs);
	}
	const trouble = subscriptionTrouble(subscriptions);
	return { count, lag, oldestAgeMs, ...(trouble === undefined ? {} : { trouble }) };
}

export function together(figures: readonly DispatchFigures[]): DispatchFigures {
	const trouble = troubleTogether(figures.map((each) => each.trouble));
	return {
		count: figures.reduce((sum, { count }) => sum + count, 0),
		lag: Math.max(0, ...figures.map(({ lag }) => lag)),
		oldestAgeMs: Math.max(0, ...figures.map(({ oldestAgeMs }) => oldestAgeMs)),
		...(trouble === undefined ? {} : { trouble }),
	};
}

export function troubleTogether(troubles: readonly (SubscriptionTrouble | undefined)[]): SubscriptionTrouble | undefined {
	const told = troubles.filter((each) => each !== undefined);
	if (told.length === 0) return undefined;
	return { count: told.reduce((sum, { count }) => sum + count, 0), first: told.flatMap(({ first }) => first).slice(0, TROUBLED_SHOWN_MAX) };
}
