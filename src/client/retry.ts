/** Trying again what may succeed later: exponential backoff with full jitter, and what the other side asks for. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import { NexusError } from "./nexus-error.ts";

export interface RetryOptions {
	readonly clock: Clock;
	readonly rng: Rng;
	/** From the first try on; after that the last error is told. */
	readonly patienceMs: number;
	readonly signal?: AbortSignal | undefined;
}

const BASE_MS = 100;
const MAX_MS = 10_000;

/** Rejects with the last error, or with the reason of the signal. */
export async function withRetry<T>(work: () => Promise<T>, { clock, rng, patienceMs, signal }: RetryOptions): Promise<T> {
	const giveUpAtMs = clock.monotonicMs() + patienceMs;
	for (let tries = 0; ; tries++) {
		signal?.throwIfAborted();
		try {
			return await work();
		} catch (thrown) {
			if (!(thrown instanceof NexusError) || !thrown.isTransient) throw thrown;
			const waitMs = Math.max(thrown.retryAfterMs, backoffMs(tries, rng));
			if (clock.monotonicMs() + waitMs > giveUpAtMs) throw thrown;
			await wait(waitMs, clock, signal);
		}
	}
}

/** Before the try after `tries` failed ones. */
export function backoffMs(tries: number, rng: Rng): number {
	return rng() * Math.min(MAX_MS, BASE_MS * 2 ** tries);
}

/** Rejects with the signal's reason when it is aborted meanwhile. Keeps the process alive. */
export async function wait(ms: number, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
	signal?.throwIfAborted();
	// Timers of the clock do not; who waits for an acknowledgement must not be ended by the end of its program.
	const { port1 } = new MessageChannel();
	port1.ref();
	let end = (): void => {};
	const timer = clock.setTimer(ms, () => end());
	try {
		await new Promise<void>((resolve) => {
			end = resolve;
			signal?.addEventListener("abort", end, { once: true });
		});
	} finally {
		timer.cancel();
		signal?.removeEventListener("abort", end);
		port1.close();
	}
	signal?.throwIfAborted();
}
