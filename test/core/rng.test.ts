/** Randomness that can be replayed. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng, systemRng } from "../../src/core/rng.ts";

function take(rng: () => number, count: number): number[] {
	return Array.from({ length: count }, rng);
}

describe("a seeded generator", () => {
	it("gives the same sequence for one seed, on every machine, and another for another", () => {
		assert.deepEqual(take(seededRng(7), 1000), take(seededRng(7), 1000));
		assert.notDeepEqual(take(seededRng(7), 10), take(seededRng(8), 10));
		// mulberry32 as published, seed 1.
		assert.deepEqual(
			take(seededRng(1), 3).map((number) => Math.round(number * 2 ** 32)),
			[2693262067, 11749833, 2265367787],
		);
	});

	it("stays in [0, 1) and spreads evenly", () => {
		for (const rng of [seededRng(0), seededRng(-1), seededRng(2 ** 40), systemRng]) {
			const tenths = new Array<number>(10).fill(0);
			for (const number of take(rng, 100_000)) {
				assert.ok(number >= 0 && number < 1);
				const tenth = Math.floor(number * 10);
				tenths[tenth] = (tenths[tenth] as number) + 1;
			}
			// 10,000 expected, standard deviation 95.
			for (const count of tenths) assert.ok(Math.abs(count - 10_000) < 600, tenths.join(" "));
		}
	});
});
