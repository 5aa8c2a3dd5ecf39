import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DueQueue } from "../../src/core/due-queue.ts";
import { seededRng } from "../../src/core/rng.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { LateClock } from "./late-clock.ts";

interface Ran {
	readonly item: string;
	readonly token: number;
	readonly atMs: number;
}

function queue(): { clock: FakeClock; queue: DueQueue<string>; ran: Ran[] } {
	const clock = new FakeClock();
	const ran: Ran[] = [];
	return { clock, ran, queue: new DueQueue(clock, (item, token) => ran.push({ item, token, atMs: clock.monotonicMs() })) };
}

describe("a queue of what is due", () => {
	it("runs each once, with its token, when its time has come and not before", () => {
		const { clock, queue: due, ran } = queue();
		due.push("a", 1, 50);
		clock.advance(20);
		due.push("b", 2, 50);
		clock.advance(29);
		assert.deepEqual(ran, []);
		clock.advance(1);
		assert.deepEqual(ran, [{ item: "a", token: 1, atMs: 50 }]);
		clock.advance(1000);
		assert.deepEqual(ran.slice(1), [{ item: "b", token: 2, atMs: 70 }]);
		assert.equal(clock.pendingTimers, 0);
	});

	it("holds up nobody who is due early behind one who is due late", () => {
		const { clock, queue: due, ran } = queue();
		due.push("slow", 1, 10_000);
		due.push("quick", 2, 50);
		due.push("quicker", 3, 20);
		clock.advance(50);
		assert.deepEqual(
			ran.map(({ item, atMs }) => [item, atMs]),
			[
				["quicker", 20],
				["quick", 50],
			],
		);
		clock.advance(9950);
		assert.equal(ran[2]?.atMs, 10_000);
	});

	it("has one timer, whatever waits", () => {
		const { clock, queue: due } = queue();
		for (let i = 0; i < 1000; i++) due.push("x", i, 50 + (i % 7));
		assert.equal(clock.pendingTimers, 1);
		clock.advance(51);
		assert.equal(clock.pendingTimers, 1);
		due.stop();
		assert.equal(clock.pendingTimers, 0);
	});

	it("runs a thousand random delays, pushed at random times, each at its time and in order", () => {
		const { clock, queue: due, ran } = queue();
		const rng = seededRng(7);
		const wanted = new Map<number, number>();
		for (let token = 0; token < 1000; token++) {
			const delayMs = 1 + Math.floor(rng() * 300);
			wanted.set(token, clock.monotonicMs() + delayMs);
			due.push("x", token, delayMs);
			clock.advance(Math.floor(rng() * 3));
		}
		clock.advance(1000);
		assert.equal(ran.length, 1000);
		for (const { token, atMs } of ran) assert.equal(atMs, wanted.get(token));
	});

	it("runs what is pushed while it runs", () => {
		const clock = new FakeClock();
		const ran: [string, number][] = [];
		const due: DueQueue<string> = new DueQueue(clock, (item) => {
			ran.push([item, clock.monotonicMs()]);
			if (ran.length < 4) due.push(`after ${ran.length}`, 0, 10);
		});
		due.push("first", 0, 10);
		due.push("second", 0, 10);
		clock.advance(100);
		assert.deepEqual(ran, [
			["first", 10],
			["second", 10],
			["after 1", 20],
			["after 2", 20],
			["after 3", 30],
		]);
		assert.equal(clock.pendingTimers, 0);
	});

	it("runs everything that has become due when the loop stood still", () => {
		const clock = new LateClock();
		const ran: string[] = [];
		const due = new DueQueue<string>(clock, (item) => ran.push(item));
		due.push("a", 0, 10);
		due.push("b", 0, 20);
		due.push("c", 0, 500);
		clock.stall(100);
		clock.runDue();
		assert.deepEqual(ran, ["a", "b"]);
		clock.advance(401);
		assert.deepEqual(ran, ["a", "b", "c"]);
	});

	it("takes a delay of nothing, and of a fraction, as the next millisecond", () => {
		const { clock, queue: due, ran } = queue();
		due.push("none", 0, 0);
		due.push("fraction", 0, 0.5);
		assert.deepEqual(ran, []);
		clock.advance(1);
		assert.deepEqual(
			ran.map(({ item }) => item),
			["none", "fraction"],
		);
	});

	it("runs nothing after it was stopped, and goes on with what comes later", () => {
		const { clock, queue: due, ran } = queue();
		due.push("a", 0, 10);
		due.stop();
		clock.advance(100);
		assert.equal(ran.length, 0);
		due.push("b", 0, 10);
		clock.advance(10);
		assert.equal(ran[0]?.item, "b");
	});

	it("leaves out what is beyond its bound", () => {
		const { clock, queue: due, ran } = queue();
		for (let i = 0; i < 65_536 + 10; i++) due.push("x", i, 10);
		clock.advance(10);
		assert.equal(ran.length, 65_536);
		due.push("later", 0, 10);
		clock.advance(10);
		assert.equal(ran.at(-1)?.item, "later");
	});
});
