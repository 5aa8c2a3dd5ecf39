/** Trying again what may succeed later: exponential backoff with full jitter, and what the other side asks for. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import { holdProcess } from "./hold-process.ts";
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
			const waitMs = Math.max(retryAfterOf(thrown), backoffMs(tries, rng));
			if (clock.monotonicMs() + waitMs > giveUpAtMs) throw thrown;
			await wait(waitMs, clock, signal);
		}
	}
}

/** Before the try after `tries` failed ones. */
export function backoffMs(tries: number, rng: Rng): number {
	return rng() * Math.min(MAX_MS, BASE_MS * 2 ** tries);
}

/** What it asks to wait; 0 for whatever asks for nothing. */
export function retryAfterOf(thrown: unknown): number {
	return thrown instanceof NexusError ? thrown.retryAfterMs : 0;
}

/** Rejects with the signal's reason when it is aborted meanwhile. Keeps the process alive. */
export async function wait(ms: number, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
	signal?.throwIfAborted();
	// Who waits for an acknowledgement must not be ended by the end of its program.
	const letGo = holdProcess();
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
		letGo();
	}
	signal?.throwIfAborted();
}
