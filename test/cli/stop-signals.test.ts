/** The first and the second request to stop. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { listenForStop, type StopSignal } from "../../src/cli/stop-signals.ts";
import { FakeClock } from "../support/fake-clock.ts";

function listening(): { clock: FakeClock; press: (signal: StopSignal) => void; source: EventEmitter; seen: string[]; close: () => void } {
	const clock = new FakeClock();
	const source = new EventEmitter();
	const signals = listenForStop(source, clock);
	const seen: string[] = [];
	void signals.first.then((signal) => seen.push(`first ${signal}`));
	void signals.second.then((signal) => seen.push(`second ${signal}`));
	return { clock, source, seen, press: (signal) => source.emit(signal, signal), close: () => signals.close() };
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

test("closing leaves no listener behind", () => {
	const { source, close } = listening();
	assert.equal(source.listenerCount("SIGHUP"), 1);
	close();
	for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) assert.equal(source.listenerCount(signal), 0);
});
