/** A wait in a command that follows a stream. */
import type { Clock } from "../core/clock.ts";

/** Rejects with the signal's reason when it is aborted meanwhile. */
export async function pause(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
	// Timers of the clock do not keep the process alive; while nothing but one is left, this does.
	const { port1 } = new MessageChannel();
	port1.ref();
	try {
		await new Promise<void>((resolve) => {
			clock.setTimer(ms, resolve);
			signal.addEventListener("abort", () => resolve(), { once: true });
		});
	} finally {
		port1.close();
	}
	signal.throwIfAborted();
}
