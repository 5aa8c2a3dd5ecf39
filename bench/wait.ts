/** Waiting for a started process to do its job, without hiding that it ended. */
import { setTimeout as pause } from "node:timers/promises";
import { messageOf } from "../src/core/errors.ts";
import type { Child } from "./processes.ts";

// A machine that compiles on all cores delayed servers by up to 20 s; nothing here needs longer.
const PATIENCE_MS = 60_000;
const POLL_MS = 2;

/** Polls until `check` says true; a check that rejects counts as "not yet". Rejects when `child` ends or time is up. */
export async function waitUntil(check: () => Promise<boolean>, child: Child): Promise<void> {
	const giveUpAt = performance.now() + PATIENCE_MS;
	let last = "it answered, but not as expected";
	while (performance.now() < giveUpAt) {
		if (!child.running) throw new Error(`${child.name} ended while starting: ${child.lastWords()}`);
		try {
			if (await check()) return;
		} catch (thrown) {
			last = messageOf(thrown);
		}
		await pause(POLL_MS);
	}
	throw new Error(`${child.name} was not ready after ${PATIENCE_MS / 1000} s: ${last}. ${child.lastWords()}`);
}
