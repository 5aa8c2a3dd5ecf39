/** Tokens of several nodes on one state, on the real servers: made at one, good at all; rotated, spent and taken back once for all of them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { FileTokens } from "../../../src/nexus/access/file-tokens.ts";
import { StateTokens, TOKENS_TABLE } from "../../../src/nexus/access/state-tokens.ts";
import { importTokens } from "../../../src/nexus/access/token-import.ts";
import { Tokens } from "../../../src/nexus/access/tokens.ts";
import { StateFile } from "../../../src/nexus/authority/state-file.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { until } from "../authority/support.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { temporaryDir } from "../support.ts";

interface Bench {
	readonly name: string;
	readonly skip: string | false;
	/** A further node's view of the one state. */
	start(t: TestContext): Promise<() => Promise<StateStore>>;
}

const BENCHES: readonly Bench[] = [
	{
		name: "NATS",
		skip: skipWithout("nats-server"),
		async start(t) {
			const { address } = await startNats(t);
			return () => opened(t, { engine: "nats", servers: [address], clock: systemClock });
		},
	},
	{
		name: "PostgreSQL",
		skip: skipWithoutPostgres,
		async start(t) {
			const server = await PostgresServer.start();
			t.after(() => server.stop());
			return () => opened(t, { engine: "postgres", url: server.url, clock: systemClock, rng: seededRng(1) });
		},
	},
];

async function opened(t: TestContext, options: Parameters<typeof openState>[0]): Promise<StateStore> {
	const state = await openState(options);
	if (!state.ok) assert.fail(state.detail);
	t.after(() => state.store.close());
	return state.store;
}

async function nodeOn(t: TestContext, state: StateStore, clock = new FakeClock()): Promise<Tokens> {
	const tokens = new Tokens(await StateTokens.open(state, clock, silentLogger), clock);
	t.after(() => tokens.close());
	return tokens;
}

for (const { name, skip, start } of BENCHES) {
	test(`on ${name} a token of one node is good at the other, with both secrets while it is rotated, and gone at both`, { skip }, async (t) => {
		const open = await start(t);
		const [a, b] = [await nodeOn(t, await open()), await nodeOn(t, await open())];
		let told = 0;
		b.onLess(() => told++);
		const made = await a.createApi({ role: "ingest", name: "shop", types: ["order.*"] });
		assert.ok("text" in made);
		assert.ok(a.recogniseApi(made.text).ok);
		const known = await until(() => {
			const recognised = b.recogniseApi(made.text);
			return recognised.ok && recognised;
		}, "the other node knows it");
		assert.deepEqual([known.token.types, known.scope === undefined], [["order.*"], false]);
		assert.equal(told, 0);
		const rotated = await b.rotate(made.shown.id, { graceMs: 3_600_000 });
		assert.ok("text" in rotated);
		await until(() => a.recogniseApi(rotated.text).ok, "the new secret holds there");
		assert.ok(a.recogniseApi(made.text).ok);
		assert.equal(await a.retirePrevious(made.shown.id), undefined);
		await until(() => !b.recogniseApi(made.text).ok, "the old one has ended at the other node");
		await until(() => told > 0, "streams are looked at");
		assert.equal(await b.remove(made.shown.id), undefined);
		await until(() => !a.recogniseApi(rotated.text).ok, "it is gone");
		// Also for who has not heard of it.
		assert.deepEqual((await a.remove(made.shown.id))?.fault, "not_found");
	});

	test(`on ${name} the uses of a join token are counted once over all nodes`, { skip }, async (t) => {
		const open = await start(t);
		const nodes = await Promise.all([0, 1, 2].map(async () => nodeOn(t, await open())));
		const [first] = nodes;
		assert.ok(first !== undefined);
		const USES = 5;
		const made = await first.createJoin({ service: "payments", ttlMs: 60_000, uses: USES, root: "ab".repeat(32) });
		assert.ok("token" in made);
		const { token } = made;
		await until(() => nodes.every((node) => node.page(undefined, 1).tokens.length === 1), "all of them know it");
		const spent = await Promise.all(
			nodes.flatMap((node) =>
				Array.from({ length: USES }, async () => {
					const use = node.holdJoin(token);
					return use.ok ? ((await use.spend())?.fault ?? "spent") : "refused";
				}),
			),
		);
		assert.equal(spent.filter((each) => each === "spent").length, USES, spent.join());
		assert.deepEqual(
			spent.filter((each) => each !== "spent" && each !== "used_up"),
			[],
		);
		await until(() => nodes.every((node) => node.page(undefined, 1).tokens[0]?.state === "used_up"), "all of them know");
		for (const node of nodes) assert.ok(!node.holdJoin(token).ok);
	});

	test(`on ${name} the last use of a token is the latest of all nodes, to the minute`, { skip }, async (t) => {
		const open = await start(t);
		const clock = new FakeClock();
		const state = await open();
		const [a, b] = [await nodeOn(t, state, clock), await nodeOn(t, await open(), clock)];
		const made = await a.createApi({ role: "read", name: "x" });
		assert.ok("text" in made);
		await until(() => b.recogniseApi(made.text).ok, "the other node knows it");
		const firstMs = clock.wallMs();
		clock.advance(50_000);
		assert.ok(a.recogniseApi(made.text).ok);
		const lastMs = clock.wallMs();
		const shownBy = (node: Tokens) => node.page(undefined, 1).tokens[0]?.lastUsedAt;
		assert.deepEqual(
			[shownBy(a), shownBy(b)],
			[lastMs, firstMs].map((ms) => new Date(ms).toISOString()),
		);
		clock.advance(60_000);
		await until(() => shownBy(b) === new Date(lastMs).toISOString(), "it has heard of the later one");
		await b.close();
		assert.equal(shownBy(a), new Date(lastMs).toISOString());
	});

	test(`on ${name} tokens of a node's own file come into the state once, though it is killed in between and one is taken back`, {
		skip,
	}, async (t) => {
		const open = await start(t);
		const state = await open();
		const path = join(temporaryDir(t), "identity.json");
		const file = await StateFile.open(path);
		const before = new Tokens(new FileTokens(file), new FakeClock());
		const texts: string[] = [];
		for (let i = 0; i < 70; i++) {
			const made = await before.createApi({ role: "read", name: `n${i}` });
			assert.ok("text" in made);
			texts.push(made.text);
		}
		const [victim = ""] = file.current.tokens.map(({ id }) => id).sort();
		// Killed after the second commit.
		let commits = 0;
		const dying = new Proxy(state, {
			get(target, key) {
				const value: unknown = Reflect.get(target, key, target);
				if (key !== "commit" || typeof value !== "function") return typeof value === "function" ? (value.bind(target) as unknown) : value;
				return (...args: unknown[]) => (++commits > 2 ? Promise.reject(new Error("killed")) : (Reflect.apply(value, target, args) as unknown));
			},
		});
		await assert.rejects(importTokens(file, dying, "node-a"), /killed/);
		assert.equal(file.current.tokens.length, 70);
		const other = await nodeOn(t, await open());
		assert.equal(await other.remove(victim), undefined);
		assert.equal(await importTokens(await StateFile.open(path), state, "node-a"), 10);
		const node = await nodeOn(t, await open());
		assert.equal(texts.filter((text) => node.recogniseApi(text).ok).length, 69);
		const left = await StateFile.open(path);
		assert.deepEqual(left.current.tokens, []);
		// A copy of the folder, and a node that has nothing.
		assert.equal(await importTokens(left, state, "node-a"), 0);
		const page = await state.list(TOKENS_TABLE);
		assert.equal(page.ok && page.value.entries.length, 69);
	});
}

test("where the state cannot be had tokens go on as they are known, and changes are refused as such", async () => {
	const memory = await openState({ engine: "memory" });
	assert.ok(memory.ok);
	const clock = new FakeClock();
	let isAway = false;
	const away = async (): Promise<unknown> => ({ ok: false, failure: "unavailable", detail: "no connection" });
	const state = new Proxy(memory.store, {
		get(target, key) {
			const value: unknown = Reflect.get(target, key, target);
			if (isAway && (key === "commit" || key === "get")) return away;
			return typeof value === "function" ? (value.bind(target) as unknown) : value;
		},
	});
	const tokens = new Tokens(await StateTokens.open(state, clock, silentLogger), clock);
	const made = await tokens.createApi({ role: "read", name: "x" });
	assert.ok("text" in made);
	isAway = true;
	assert.ok(tokens.recogniseApi(made.text).ok);
	const faults = [
		await tokens.createApi({ role: "read", name: "y" }),
		await tokens.rotate(made.shown.id, { graceMs: 1_000 }),
		await tokens.retirePrevious(made.shown.id),
		await tokens.remove(made.shown.id),
	];
	for (const fault of faults) assert.ok(fault !== undefined && "fault" in fault && fault.fault === "unavailable", JSON.stringify(fault));
	assert.ok(tokens.recogniseApi(made.text).ok);
	isAway = false;
	assert.equal(await tokens.remove(made.shown.id), undefined);
	assert.ok(!tokens.recogniseApi(made.text).ok);
	await tokens.close();
	await memory.store.close();
});

test("a secret that was used at another node a moment ago, or before a crash, is not taken for lost by a rotation", async (t) => {
	const clock = new FakeClock();
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	t.after(() => opened.store.close());
	const nodes = await Promise.all([0, 1].map(() => nodeOn(t, sharedBy(opened.store), clock)));
	const [a, b] = nodes;
	assert.ok(a !== undefined && b !== undefined);
	const made = await a.createApi({ role: "ingest", name: "shop" });
	assert.ok("text" in made && a.recogniseApi(made.text).ok);
	const rotated = await a.rotate(made.shown.id, { graceMs: 3_600_000 });
	assert.ok("text" in rotated);
	await until(() => b.recogniseApi(rotated.text).ok, "the new secret is used at the other node");
	clock.advance(1_000);
	await until(() => a.page(undefined, 1).tokens[0]?.lastUsedAt !== null, "this node has heard of it");
	const again = await a.rotate(made.shown.id, { graceMs: 3_600_000 });
	assert.equal("fault" in again && again.fault, "not_rotated");
	assert.ok(b.recogniseApi(rotated.text).ok);
});

test("an id that can be none is the id of no token, also where tokens stand in a shared state", async (t) => {
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	t.after(() => opened.store.close());
	const tokens = await nodeOn(t, sharedBy(opened.store));
	for (const id of ["not an id", "é", "x".repeat(300)]) {
		for (const fault of [await tokens.rotate(id, { graceMs: 1_000 }), await tokens.retirePrevious(id), await tokens.remove(id)])
			assert.ok(fault !== undefined && "fault" in fault && fault.fault === "not_found", JSON.stringify(fault));
	}
});

/** As another node sees it: all of them are in this process. */
function sharedBy(store: StateStore): StateStore {
	return new Proxy(store, {
		get(target, key) {
			if (key === "capabilities") return { ...target.capabilities, isShared: true };
			const value: unknown = Reflect.get(target, key, target);
			return typeof value === "function" ? (value.bind(target) as unknown) : value;
		},
	});
}
