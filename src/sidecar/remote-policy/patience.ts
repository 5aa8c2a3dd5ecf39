/** Pauses between tries: longer with each failure, never in step with others, over at once when all ends. */
import type { Clock } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";

const BASE_MS = 250;
/** A Nexus that is back is noticed within this. */
const MAX_MS = 10_000;

export function backoffMs(failures: number, rng: Rng): number {
	return Math.min(MAX_MS, BASE_MS * 2 ** Math.min(failures - 1, 16)) * (0.5 + rng() / 2);
}

export function pause(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
	const { promise, resolve } = Promise.withResolvers<void>();
	if (signal.aborted) return Promise.resolve();
	const end = (): void => {
		timer.cancel();
		signal.removeEventListener("abort", end);
		resolve();
	};
	const timer = clock.setTimer(ms, end);
	signal.addEventListener("abort", end);
	return promise;
}
