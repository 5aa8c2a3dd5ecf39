/** Ctrl-C and its kin: the first asks for an orderly stop, the next one for an immediate one. */
import type { Clock } from "../core/clock.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type StopSignal = (typeof SIGNALS)[number];

// One key press arrives twice where npm runs us: from the terminal and passed on by npm. Nobody presses that fast.
const SAME_PRESS_MS = 300;

export interface SignalSource {
	on(signal: StopSignal, listener: (signal: StopSignal) => void): unknown;
}

export interface StopSignals {
	readonly first: Promise<StopSignal>;
	readonly second: Promise<StopSignal>;
}

/** For the rest of the process: once it has been asked to end, a further signal must not end it with another status than its own. */
export function listenForStop(source: SignalSource, clock: Clock): StopSignals {
	const first = Promise.withResolvers<StopSignal>();
	const second = Promise.withResolvers<StopSignal>();
	let firstMs: number | undefined;
	const listener = (signal: StopSignal): void => {
		const nowMs = clock.monotonicMs();
		if (firstMs === undefined) {
			firstMs = nowMs;
			first.resolve(signal);
		} else if (nowMs - firstMs > SAME_PRESS_MS) second.resolve(signal);
	};
	for (const signal of SIGNALS) source.on(signal, listener);
	return { first: first.promise, second: second.promise };
}
