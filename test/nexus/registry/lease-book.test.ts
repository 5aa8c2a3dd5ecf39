/** Leases on a clock of the test: who ends, who does not, and what our own sleep, jumps of the wall clock and a restart are not held against. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { LeaseBook } from "../../../src/nexus/registry/lease-book.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

/** As a process that is stopped: time passes, and timers are late. */
class SleepyClock extends FakeClock {
	#sleptMs = 0;

	override monotonicMs(): number {
		return super.monotonicMs() + this.#sleptMs;
	}

	sleep(ms: number): void {
		this.#sleptMs += ms;
	}
}

async function memory(t: TestContext): Promise<StateStore> {
	const state = await openState({ engine: "memory" });
	assert.ok(state.ok);
	t.after(() => state.store.close());
	return state.store;
}

async function open(t: TestContext, store: StateStore, clock: FakeClock, max = 10): Promise<LeaseBook<string>> {
	const parse = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
	const book = await LeaseBook.open({ store, table: "tested", max, parse, clock, logger: silentLogger });
	t.after(() => book.close());
	return book;
}

/** Time goes on in small steps, and what is written meanwhile is written. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
	for (let at = 0; at < ms; at += 250) {
		clock.advance(250);
		for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
	}
}

const keys = (book: LeaseBook<string>): string[] => [...book.entries()].map(([key]) => key);

describe("a lease", () => {
	test("ends when nothing is heard for its time, and says so once; renewed it lasts", async (t) => {
		const clock = new FakeClock();
		const book = await open(t, await memory(t), clock);
		const ended: string[] = [];
		book.onEnd((key, value) => void ended.push(`${key}=${value}`));
		await book.renew("a", "x", 3_000);
		await book.renew("b", "y", 3_000);
		for (let i = 0; i < 5; i++) {
			await pass(clock, 1_000);
			await book.renew("b", "y", 3_000);
		}
		assert.deepEqual(keys(book), ["b"]);
		assert.deepEqual(ended, ["a=x"]);
	});

	test("holds where it is renewed while its end is being written", async (t) => {
		const clock = new FakeClock();
		const store = await memory(t);
		const ends: (() => void)[] = [];
		const slow = new Proxy(store, {
			get(target, name) {
				const value: unknown = Reflect.get(target, name, target);
				if (typeof value !== "function") return value;
				if (name !== "commit") return value.bind(target) as unknown;
				return async (writes: readonly { readonly kind: string }[]) => {
					if (writes[0]?.kind === "delete") await new Promise<void>((resolve) => ends.push(resolve));
					return (await Reflect.apply(value, target, [writes])) as unknown;
				};
			},
		});
		const book = await open(t, slow, clock);
		await book.renew("a", "x", 3_000);
		await pass(clock, 3_500);
		assert.equal(ends.length, 1, "its end is on its way");
		const renewed = book.renew("a", "x", 3_000);
		ends[0]?.();
		assert.ok((await renewed).ok);
		await pass(clock, 500);
		assert.deepEqual(keys(book), ["a"]);
	});

	test("is not ended by a wall clock that jumps, in either direction", async (t) => {
		const clock = new FakeClock();
		const book = await open(t, await memory(t), clock);
		await book.renew("a", "x", 3_000);
		clock.jumpWall(86_400_000);
		await pass(clock, 1_000);
		clock.jumpWall(-2 * 86_400_000);
		await pass(clock, 1_000);
		assert.deepEqual(keys(book), ["a"]);
		await pass(clock, 1_500);
		assert.deepEqual(keys(book), []);
	});

	test("is not ended by our own sleep: who was heard before has its time again", async (t) => {
		const clock = new SleepyClock();
		const book = await open(t, await memory(t), clock);
		await book.renew("a", "x", 3_000);
		await pass(clock, 1_000);
		clock.sleep(60_000);
		await pass(clock, 250);
		assert.deepEqual(keys(book), ["a"]);
		await pass(clock, 1_500);
		assert.deepEqual(keys(book), ["a"]);
		await pass(clock, 1_500);
		assert.deepEqual(keys(book), []);
	});

	test("lasts its whole time again after a restart on the same state", async (t) => {
		const store = await memory(t);
		const before = new FakeClock();
		const first = await open(t, store, before);
		await first.renew("a", "x", 3_000);
		await pass(before, 2_500);
		first.close();
		const after = new FakeClock(before.wallMs() + 3_600_000);
		const second = await open(t, store, after);
		assert.deepEqual(keys(second), ["a"]);
		await pass(after, 2_500);
		assert.deepEqual(keys(second), ["a"]);
		await pass(after, 1_500);
		assert.deepEqual(keys(second), []);
	});

	test("in doubt ends sooner, unless it is heard again", async (t) => {
		const clock = new FakeClock();
		const book = await open(t, await memory(t), clock);
		await book.renew("a", "x", 60_000);
		await book.renew("b", "y", 60_000);
		book.doubt("a", 2_000);
		book.doubt("b", 2_000);
		await pass(clock, 1_000);
		await book.renew("b", "y", 60_000);
		await pass(clock, 5_000);
		assert.deepEqual(keys(book), ["b"]);
	});

	test("is refused where there are too many, and what cannot be understood is left alone", async (t) => {
		const clock = new FakeClock();
		const store = await memory(t);
		await store.commit([{ kind: "put", table: "tested", key: "odd", value: { value: 7, ttlMs: 1 } }]);
		const book = await open(t, store, clock, 1);
		assert.deepEqual(keys(book), []);
		assert.equal((await book.renew("a", "x", 3_000)).ok, true);
		const outcome = await book.renew("b", "y", 3_000);
		assert.equal(!outcome.ok && outcome.failure, "overloaded");
		assert.equal((await book.renew("a", "z", 3_000)).ok, true);
		assert.equal((await store.get("tested", "odd")).ok, true);
	});
});
