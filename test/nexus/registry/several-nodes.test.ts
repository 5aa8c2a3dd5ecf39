/** Leases and policies on one state that several nodes share: what one hears, the others do not end; what one writes, the others know. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { PolicyBook } from "../../../src/nexus/policy/policy-book.ts";
import { LeaseBook } from "../../../src/nexus/registry/lease-book.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

/** State in memory that says it is shared: both nodes are in this process. */
async function shared(t: TestContext): Promise<StateStore> {
	const state = await openState({ engine: "memory" });
	assert.ok(state.ok);
	t.after(() => state.store.close());
	const { store } = state;
	return new Proxy(store, {
		get(target, name) {
			if (name === "capabilities") return { ...target.capabilities, isShared: true };
			const value: unknown = Reflect.get(target, name, target);
			return typeof value === "function" ? (value.bind(target) as unknown) : value;
		},
	});
}

async function turns(): Promise<void> {
	for (let i = 0; i < 12; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(clock: FakeClock, ms: number): Promise<void> {
	for (let at = 0; at < ms; at += 250) {
		clock.advance(250);
		await turns();
	}
}

describe("two nodes on one state", () => {
	test("do not end what the other one hears, and end it when nobody does", async (t) => {
		const store = await shared(t);
		const clock = new FakeClock();
		const options = {
			store,
			table: "tested",
			max: 10,
			clock,
			logger: silentLogger,
			parse: (value: unknown) => (typeof value === "string" ? value : undefined),
		};
		const [a, b] = await Promise.all([LeaseBook.open(options), LeaseBook.open(options)]);
		t.after(() => b.close());
		await a.renew("x", "1", 10_000);
		await turns();
		assert.equal(b.get("x"), "1");
		for (let i = 0; i < 12; i++) {
			await pass(clock, 3_000);
			await a.renew("x", "1", 10_000);
		}
		assert.equal(b.get("x"), "1", "heard by the other node for 36 s");
		a.close();
		await pass(clock, 20_000);
		assert.equal(b.get("x"), undefined);
	});

	test("see a lease go to the other node, and back, without an end in between", async (t) => {
		const store = await shared(t);
		const clock = new FakeClock();
		const options = {
			store,
			table: "tested",
			max: 10,
			clock,
			logger: silentLogger,
			parse: (value: unknown) => (typeof value === "string" ? value : undefined),
		};
		const books = await Promise.all([LeaseBook.open(options), LeaseBook.open(options)]);
		t.after(() => {
			for (const book of books) book.close();
		});
		let ends = 0;
		for (const book of books) book.onEnd(() => ends++);
		for (let i = 0; i < 20; i++) {
			await books[Math.floor(i / 4) % 2]?.renew("x", "1", 10_000);
			await pass(clock, 3_000);
		}
		assert.equal(ends, 0);
		assert.deepEqual(
			books.map((book) => book.get("x")),
			["1", "1"],
		);
	});

	test("give each version its own number, however many put at once, and refuse who rests on an old one", async (t) => {
		const store = await shared(t);
		const clock = new FakeClock();
		const books = await Promise.all([1, 2].map(() => PolicyBook.open({ store, clock, logger: silentLogger })));
		t.after(() => {
			for (const book of books) book.close();
		});
		const put = (i: number, expected?: number) =>
			books[i % 2]?.put("checkout", { text: `outbound: {} # ${i}\n`, author: "a", reason: "", ...(expected === undefined ? {} : { expected }) });
		const all = Promise.all(Array.from({ length: 8 }, (_, i) => put(i)));
		let isOver = false;
		void all.finally(() => {
			isOver = true;
		});
		while (!isOver) await pass(clock, 250);
		const outcomes = await all;
		assert.deepEqual(outcomes.map((outcome) => (outcome?.ok ? outcome.version : 0)).sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
		await turns();
		assert.deepEqual(
			books.map((book) => book.head("checkout")?.latest),
			[8, 8],
		);
		const late = await put(1, 7);
		assert.equal(late?.ok === false && late.fault, "changed");
	});

	test("keep the last 20 versions and what can be gone back to, and no more", async (t) => {
		const store = await shared(t);
		const clock = new FakeClock();
		const book = await PolicyBook.open({ store, clock, logger: silentLogger });
		t.after(() => book.close());
		for (let i = 1; i <= 30; i++) assert.equal((await book.put("checkout", { text: `outbound: {} # ${i}\n`, author: "a", reason: "" })).ok, true);
		const versions = await book.versions("checkout");
		assert.deepEqual(
			versions.ok && versions.value.map(({ version }) => version),
			Array.from({ length: 20 }, (_, i) => 30 - i),
		);
		const listed = await store.list("policy-versions");
		assert.equal(listed.ok && listed.value.entries.length, 20);
	});
});
