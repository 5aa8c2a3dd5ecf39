/** The pool under a step of load, on arithmetic alone: it grows to what is needed, stays there, and goes back, without swinging. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PoolSize } from "../../../src/nexus/subscriptions/pool-size.ts";

/** A consumer that takes `latencyMs` up to `capacity` at a time, and longer in proportion beyond; a second per step. */
class Consumer {
	readonly pool: PoolSize;
	waiting = 0;
	readonly sizes: number[] = [];
	readonly #latencyMs: number;
	readonly #capacity: number;

	constructor(pool: PoolSize, latencyMs: number, capacity = Number.POSITIVE_INFINITY) {
		this.pool = pool;
		this.#latencyMs = latencyMs;
		this.#capacity = capacity;
	}

	run(seconds: number, arrivals: (second: number) => number): void {
		for (let second = 0; second < seconds; second++) {
			this.waiting += arrivals(second);
			const { size } = this.pool;
			const latencyMs = this.#latencyMs * Math.max(1, size / this.#capacity);
			const done = Math.min(this.waiting, Math.floor((size * 1000) / latencyMs));
			this.waiting -= done;
			const busy = Math.min(size, (done * latencyMs) / 1000);
			this.pool.sample({
				busy,
				busyMax: Math.ceil(busy),
				waiting: this.waiting,
				acked: done,
				failed: 0,
				latencyMs: done === 0 ? undefined : latencyMs,
			});
			this.sizes.push(this.pool.size);
		}
	}

	/** How often it turned from growing to shrinking, or back. */
	turns(from: number): number {
		let turns = 0;
		let direction = 0;
		for (let i = from + 1; i < this.sizes.length; i++) {
			const step = Math.sign((this.sizes[i] ?? 0) - (this.sizes[i - 1] ?? 0));
			if (step === 0) continue;
			if (direction !== 0 && step !== direction) turns++;
			direction = step;
		}
		return turns;
	}
}

test("a step of load makes it grow until nothing waits, and stay there", () => {
	const consumer = new Consumer(new PoolSize(2, 64), 100);
	consumer.run(20, () => 10);
	assert.equal(consumer.pool.size, 2, "nothing waits: nothing to grow for");
	consumer.run(120, () => 200);
	assert.equal(consumer.waiting, 0);
	assert.ok(consumer.pool.size >= 20 && consumer.pool.size <= 40, `${consumer.pool.size} for what needs 20`);
	assert.ok(consumer.turns(20) <= 1, `once up to work off what waits, once down: ${consumer.sizes.join(" ")}`);
	const settled = consumer.sizes.slice(60);
	assert.equal(new Set(settled).size, 1, settled.join(" "));
});

test("when the load goes it shrinks once, in steps downwards alone", () => {
	const consumer = new Consumer(new PoolSize(1, 64), 100);
	consumer.run(60, () => 300);
	const high = consumer.pool.size;
	consumer.run(120, () => 5);
	assert.ok(consumer.pool.size <= 3, `${consumer.pool.size}`);
	assert.ok(high >= 30);
	assert.equal(consumer.turns(60), 0, consumer.sizes.join(" "));
});

test("load that comes in waves keeps its pool", () => {
	const consumer = new Consumer(new PoolSize(1, 64), 100);
	consumer.run(40, () => 200);
	consumer.run(120, (second) => (second % 8 < 4 ? 200 : 0));
	assert.ok(consumer.turns(40) <= 1, consumer.sizes.join(" "));
	assert.equal(consumer.waiting, 0);
});

test("a consumer that only becomes slower by more at a time is not pressed", () => {
	const consumer = new Consumer(new PoolSize(1, 1000), 100, 10);
	consumer.run(300, () => 1000);
	const late = consumer.sizes.slice(100);
	assert.ok(Math.max(...late) <= 60, late.join(" "));
	assert.ok(Math.min(...late) >= 8, "it is kept busy");
});

test("nothing but failures: one at a time, until one arrives", () => {
	const pool = new PoolSize(8, 64);
	pool.sample({ busy: 8, busyMax: 8, waiting: 100, acked: 0, failed: 50, latencyMs: 5 });
	assert.equal(pool.size, 1);
	pool.sample({ busy: 1, busyMax: 1, waiting: 100, acked: 0, failed: 1, latencyMs: 5 });
	assert.equal(pool.size, 1);
	pool.succeeded();
	assert.equal(pool.size, 8);
});
