/** The ring queue against an array: order, bound, wrapping, growth. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RingQueue } from "../../src/core/ring-queue.ts";
import { seededRng } from "../../src/core/rng.ts";

describe("a ring queue", () => {
	it("agrees with an array over random pushes, shifts and peeks, for many capacities", () => {
		for (const capacity of [0, 1, 2, 7, 8, 9, 16, 17, 1000]) {
			const rng = seededRng(capacity + 1);
			const queue = new RingQueue<number>(capacity);
			const model: number[] = [];
			for (let step = 0; step < 20_000; step++) {
				// Long runs of either, so that it fills up, wraps and empties.
				const pushes = Math.floor(step / 700) % 2 === 0 ? 0.7 : 0.3;
				if (rng() < pushes) {
					const fits = model.length < capacity;
					assert.equal(queue.push(step), fits);
					if (fits) model.push(step);
				} else assert.equal(queue.shift(), model.shift());
				assert.equal(queue.size, model.length);
				assert.equal(queue.peek(), model[0]);
			}
			while (model.length > 0) assert.equal(queue.shift(), model.shift());
			assert.equal(queue.shift(), undefined);
		}
	});

	it("refuses the item beyond its capacity and keeps what it has", () => {
		const queue = new RingQueue<string>(2);
		assert.deepEqual([queue.push("a"), queue.push("b"), queue.push("c")], [true, true, false]);
		assert.deepEqual([queue.shift(), queue.shift(), queue.shift()], ["a", "b", undefined]);
	});

	it("tells an item that is undefined from none", () => {
		const queue = new RingQueue<undefined>(4);
		assert.equal(queue.push(undefined), true);
		assert.equal(queue.size, 1);
		queue.shift();
		assert.equal(queue.size, 0);
	});

	it("keeps its order when it grows while its items wrap around the end", () => {
		const queue = new RingQueue<number>(100);
		for (let i = 0; i < 6; i++) queue.push(i);
		for (let i = 0; i < 6; i++) queue.shift();
		for (let i = 0; i < 20; i++) queue.push(i);
		assert.deepEqual(
			Array.from({ length: 20 }, () => queue.shift()),
			Array.from({ length: 20 }, (_, i) => i),
		);
	});
});
