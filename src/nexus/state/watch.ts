/** A table as it changes: each change once and in order, read from the history, so that a slow watcher holds no memory. */
import type { Clock } from "../../core/clock.ts";
import type { Change, StateStore } from "./state-store.ts";

/**
 * `reset`: the history does not reach back; list the table and watch from its revision. It is the last item.
 * `failing`: the state cannot be read; told once each time, the watch goes on by itself and misses nothing.
 */
export type WatchItem =
	| { readonly kind: "changes"; readonly changes: readonly Change[]; readonly revision: number }
	| { readonly kind: "failing"; readonly detail: string }
	| { readonly kind: "reset" };

export interface WatchOptions {
	/** Ends the watch. */
	readonly signal: AbortSignal;
	readonly clock: Clock;
}

// How often a watch looks without being called: a bound for what a lost notification costs, and the pause after a failure.
const LOOK_EVERY_MS = 2000;

/** Changes behind revision `after`, for ever. Ends at `reset`, when the signal says so, and when the store closes. */
export async function* watch(
	store: StateStore,
	table: string,
	after: number,
	{ signal, clock }: WatchOptions,
): AsyncGenerator<WatchItem, void, void> {
	const bell = new Bell(clock);
	const stop = store.onChange(() => bell.ring());
	const abort = (): void => bell.ring();
	signal.addEventListener("abort", abort);
	try {
		let revision = after;
		let isFailing = false;
		while (!signal.aborted) {
			const found = await store.changes(table, revision);
			if (!found.ok) {
				if (found.failure === "invalid") throw new TypeError(found.detail);
				if (found.failure === "closed") return;
				if (!isFailing) yield { kind: "failing", detail: found.detail };
				isFailing = true;
				await bell.wait();
				continue;
			}
			isFailing = false;
			const page = found.value;
			if (page.kind === "reset") {
				yield page;
				return;
			}
			revision = page.revision;
			if (page.changes.length > 0) yield { kind: "changes", changes: page.changes, revision };
			if (page.atEnd) await bell.wait();
		}
	} finally {
		stop();
		signal.removeEventListener("abort", abort);
	}
}

/** Remembers that it rang until somebody has waited for it. */
class Bell {
	readonly #clock: Clock;
	#hasRung = false;
	#wake: (() => void) | undefined;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	ring(): void {
		this.#hasRung = true;
		this.#wake?.();
	}

	async wait(): Promise<void> {
		if (!this.#hasRung) {
			const { promise, resolve } = Promise.withResolvers<void>();
			const timer = this.#clock.setTimer(LOOK_EVERY_MS, resolve);
			this.#wake = resolve;
			await promise;
			timer.cancel();
			this.#wake = undefined;
		}
		this.#hasRung = false;
	}
}
