/**
 * What the node before had open must be readable here before it is taken over, or it would be taken for lost: the end of a broker's log is heard
 * of a moment later.
 */

import { CURSOR_PREFIX, subscriptionOfCursor } from "./branch.ts";
import { decodeProgress } from "./progress.ts";
import type { SubscriptionsOptions } from "./subscriptions.ts";

/** The end of a broker's log is heard of in milliseconds; a broker that is slow gets this long. */
const READABLE_WITHIN_MS = 30_000;
/** A commit that is missed costs so much. */
const LOOK_MS = 200;

/** Of the subscriptions named by `has`. Rejects where it does not become so in time, or while `mayWait` holds. */
export async function readableUpToOpen(
	{ state, log, clock }: Pick<SubscriptionsOptions, "state" | "log" | "clock">,
	has: (subscription: string) => boolean,
	mayWait: () => boolean,
): Promise<void> {
	let needed = 0;
	for (let after: string | undefined; ; ) {
		const page = await state.cursors({ prefix: CURSOR_PREFIX, ...(after === undefined ? {} : { after }) });
		if (!page.ok) throw new Error(`the progress of subscriptions could not be read: ${page.detail}`);
		for (const { name, value } of page.value.entries) {
			if (has(subscriptionOfCursor(name))) needed = Math.max(needed, decodeProgress(value)?.open.at(-1)?.sequence ?? 0);
		}
		after = page.value.next;
		if (after === undefined) break;
	}
	const untilMs = clock.monotonicMs() + READABLE_WITHIN_MS;
	while (log.stats().lastSequence < needed) {
		if (!mayWait() || clock.monotonicMs() > untilMs)
			throw new Error(`the log ends at sequence ${log.stats().lastSequence}, and ${needed} is being delivered: is it another log?`);
		const { promise, resolve } = Promise.withResolvers<void>();
		const stop = log.onCommit(resolve);
		const timer = clock.setTimer(LOOK_MS, resolve);
		await promise;
		stop();
		timer.cancel();
	}
}
