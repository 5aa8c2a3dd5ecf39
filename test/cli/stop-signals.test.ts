/** The first and the second request to stop. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { listenForStop, type StopSignal } from "../../src/cli/stop-signals.ts";
import { FakeClock } from "../support/fake-clock.ts";

function listening(): { clock: FakeClock; press: (signal: StopSignal) => void; source: EventEmitter; seen: string[] } {
	const clock = new FakeClock();
	const source = new EventEmitter();
	const signals = listenForStop(source, clock);
	const seen: string[] = [];
	void signals.first.then((signal) => seen.push(`first ${signal}`));
	void signals.second.then((signal) => seen.push(`second ${signal}`));
	return { clock, source, seen, press: (signal) => source.emit(signal, signal) };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("one key press that arrives twice asks once", async () => {
	const { clock, press, seen } = listening();
	press("SIGINT");
	clock.advance(300);
	press("SIGINT");
	await settle();
	assert.deepEqual(seen, ["first SIGINT"]);
});

test("a second key press, whichever signal, asks for an immediate stop", async () => {
	const { clock, press, seen } = listening();
	press("SIGTERM");
	clock.advance(301);
	press("SIGINT");
	await settle();
	assert.deepEqual(seen, ["first SIGTERM", "second SIGINT"]);
});

test("further key presses change nothing, and never reach the system's own handling", async () => {
	const { clock, press, source, seen } = listening();
	for (let i = 0; i < 5; i++) {
		press("SIGTERM");
		clock.advance(301);
	}
	await settle();
	assert.deepEqual(seen, ["first SIGTERM", "second SIGTERM"]);
	for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) assert.equal(source.listenerCount(signal), 1);
});
