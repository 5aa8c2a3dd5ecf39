/** What could not be opened, because log or state could not be read, is opened again and again: that passes, and nobody is there to ask for it. */
import type { Clock } from "../../core/clock.ts";
import { OPEN_RETRY_MS } from "./limits.ts";
import { Subscription, type SubscriptionHouse } from "./subscription.ts";
import type { Turns } from "./turns.ts";

export interface OpenAgainOptions {
	readonly house: SubscriptionHouse;
	readonly clock: Clock;
	readonly turns: Turns;
	/** Whether it is still the one of its name. */
	readonly isStill: (unread: Subscription) => boolean;
	/** Whether it may be opened at this moment; else later. */
	readonly mayOpen: (name: string) => boolean;
	/** In its place, perhaps as unread as it was. */
	readonly onOpened: (subscription: Subscription) => void;
}

export function openAgain(unread: Subscription, options: OpenAgainOptions): void {
	const { house, clock, turns, isStill, mayOpen, onOpened } = options;
	const { name, record, revision } = unread;
	const act = async (): Promise<void> => {
		if (!isStill(unread)) return;
		if (mayOpen(name)) onOpened(await Subscription.open(house, name, record, revision));
		else openAgain(unread, options);
	};
	// What goes wrong is told by the turns.
	clock.setTimer(OPEN_RETRY_MS, () => void turns.take(name, act).catch(() => {}));
}
