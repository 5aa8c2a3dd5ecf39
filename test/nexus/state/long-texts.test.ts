/** Texts longer than a value of the state, on every engine: whole, in parts that go with their row, and swept where a crash has left them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { LongTexts } from "../../../src/nexus/state/long-texts.ts";
import { openState, type StateOptions } from "../../../src/nexus/state/open-state.ts";
import { put } from "../../../src/nexus/state/state-store.ts";
import { DeadLetters } from "../../../src/nexus/subscriptions/dead-letters.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { temporaryDir } from "../support.ts";
import { PostgresServer, skipWithoutPostgres } from "./postgres-server.ts";

const ENGINES: readonly { name: string; skip: string | false; options: (t: TestContext) => Promise<StateOptions> }[] = [
	{ name: "SQLite", skip: false, options: async (t) => ({ engine: "sqlite", file: join(temporaryDir(t), "state.db") }) },
	{
		name: "NATS",
		skip: skipWithout("nats-server"),
		options: async (t) => ({ engine: "nats", servers: [(await startNats(t)).address], clock: systemClock }),
	},
	{
		name: "PostgreSQL",
		skip: skipWithoutPostgres,
		async options(t) {
			const server = await PostgresServer.start();
			t.after(() => server.stop());
			return { engine: "postgres", url: server.url, clock: systemClock, rng: seededRng(1) };
		},
	},
];

for (const { name, skip, options } of ENGINES) {
	test(`a text of 1 MiB is kept whole on ${name}, beside others of its row, and removed with it`, { skip }, async (t) => {
		const opened = await openState(await options(t));
		if (!opened.ok) assert.fail(opened.detail);
		const { store } = opened;
		t.after(() => store.close());
		const texts = new LongTexts(store, "_long");
		// Parts end within characters of several bytes.
		const text = '"\u00e9\\\u{1f600}'.repeat(131_072);
		const long = await texts.keep("a/1", Buffer.from(text));
		assert.ok("parts" in long && long.parts > 4, JSON.stringify(long));
		const other = await texts.keep("a/1", Buffer.from("x".repeat(300_000)));
		assert.ok("parts" in other);
		assert.deepEqual(await texts.read("a/1", long), { ok: true, value: text });
		assert.ok((await store.commit(texts.removals("a/1", long))).ok);
		assert.deepEqual(await texts.read("a/1", long), { ok: true, value: undefined });
		await texts.keep("a/2", Buffer.from(text));
		await texts.sweep((key, name) => key === "a/1" && name === other.name);
		const left = await store.list("_long");
		assert.deepEqual(left.ok && left.value.entries.map(({ key }) => key.slice(0, 3)), ["a/1", "a/1"]);
	});
}

test("what a crash has left of a dead letter before its row was written goes with the next start, of those subscriptions alone that it is for", async (t) => {
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	const { store } = opened;
	t.after(() => store.close());
	for (const key of ["mine", "other"]) await store.commit([put("_dead-letter-events", `${key}/0000000000000001:0123456789abcdef:0`, "AAAA")]);
	const letters = new DeadLetters(store);
	await letters.load((subscription) => subscription === "mine");
	const left = await store.list("_dead-letter-events");
	assert.deepEqual(left.ok && left.value.entries.map(({ key }) => key.slice(0, 5)), ["other"]);
});
