/** Tries that have no answer in time, on a clock that only moves when told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "../../../src/nexus/subscriptions/delivery.ts";
import { Flights } from "../../../src/nexus/subscriptions/flights.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const ACK_WAIT_MS = 100;

interface House {
	readonly clock: FakeClock;
	readonly flights: Flights;
	/** Sequence and time of each that had no answer. */
	readonly told: [sequence: number, atMs: number][];
	/** Runs while one is told. */
	whileTold: (entry: Entry) => void;
	begin(sequence: number): Entry;
}

function house(): House {
	const clock = new FakeClock();
	const startMs = clock.monotonicMs();
	const told: [number, number][] = [];
	const flights: Flights = new Flights(clock, ACK_WAIT_MS, (entry, attempt) => {
		assert.ok(flights.end(entry, attempt));
		told.push([entry.sequence, clock.monotonicMs() - startMs]);
		it.whileTold(entry);
	});
	const it: House = {
		clock,
		flights,
		told,
		whileTold: () => {},
		begin(sequence) {
			const entry = entryOf(sequence);
			flights.begin(entry, clock.monotonicMs());
			return entry;
		},
	};
	return it;
}

function entryOf(sequence: number): Entry {
	return {
		sequence,
		receivedAtMs: 0,
		json: Buffer.from("{}"),
		key: undefined,
		priority: 0,
		replay: undefined,
		attempts: 1,
		state: "flying",
		dueMs: 0,
		firstTriedAtMs: 0,
		takenAtMs: 0,
		cut: undefined,
		over: undefined,
	};
}

test("each is told at the end of its own time", () => {
	const { clock, told, begin } = house();
	begin(1);
	clock.advance(40);
	begin(2);
	clock.advance(200);
	assert.deepEqual(told, [
		[1, 100],
		[2, 140],
	]);
});

test("a try that begins while another one is told delays nobody", () => {
	const it = house();
	it.begin(1);
	it.clock.advance(40);
	it.begin(2);
	it.whileTold = ({ sequence }) => {
		if (sequence === 1) it.begin(3);
	};
	it.clock.advance(200);
	assert.deepEqual(it.told, [
		[1, 100],
		[2, 140],
		[3, 200],
	]);
});

test("who asks for more goes to the end, and an earlier try is over", () => {
	const { clock, flights, told, begin } = house();
	const first = begin(1);
	begin(2);
	clock.advance(50);
	assert.ok(flights.extend(first, 1));
	assert.ok(!flights.extend(first, 2));
	assert.ok(!flights.end(first, 2));
	clock.advance(200);
	assert.deepEqual(told, [
		[2, 100],
		[1, 150],
	]);
});
