/** Callers that wait for news, on a clock of the test: each is told once, also those that come while Nexus stops. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ChangePoll, ChangePolls } from "../../../src/nexus/registry/change-polls.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const WAIT_MS = 30_000;

function poll(told: string[], name: string, topics: readonly string[], hasNews = () => true): ChangePoll {
	return { topics, hasNews, answer: (outcome) => void told.push(`${name} ${outcome}`) };
}

describe("callers that wait", () => {
	test("are told once of a change that is one for them, or that their time is over", () => {
		const clock = new FakeClock();
		const polls = new ChangePolls(clock);
		const told: string[] = [];
		polls.add(poll(told, "both", ["a", "b"]), WAIT_MS);
		polls.add(
			poll(told, "nothing for it", ["a"], () => false),
			WAIT_MS,
		);
		for (const topic of ["a", "b", "c", "a"]) polls.changed(topic);
		clock.advance(1_000);
		assert.deepEqual(told, ["both changed"]);
		clock.advance(WAIT_MS);
		assert.deepEqual(told, ["both changed", "nothing for it over"]);
		assert.deepEqual([polls.size, clock.pendingTimers], [0, 0]);
	});

	test("do not hold up an end: those that are there and those that still come are answered at once", () => {
		const clock = new FakeClock();
		const polls = new ChangePolls(clock);
		const told: string[] = [];
		polls.add(poll(told, "before", ["a"]), WAIT_MS);
		polls.changed("a");
		polls.close();
		assert.ok(polls.add(poll(told, "behind", ["a"]), WAIT_MS));
		assert.deepEqual(told, ["before over", "behind over"]);
		assert.deepEqual([polls.size, clock.pendingTimers], [0, 0]);
	});
});
