/** What every engine of the state does alike; each runs all of it on the real thing. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { type AcquireOutcome, fenceOf, Leases } from "../../../src/nexus/state/leases.ts";
import { HISTORY_CHANGES_MAX, PENDING_BYTES_MAX, VALUE_BYTES_MAX } from "../../../src/nexus/state/limits.ts";
import {
	type Change,
	type CommitOutcome,
	type Conflict,
	check,
	type Durability,
	type Entry,
	type Page,
	type PageQuery,
	put,
	type Read,
	remove,
	type StateStore,
	type Write,
} from "../../../src/nexus/state/state-store.ts";
import { type WatchItem, watch } from "../../../src/nexus/state/watch.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { eventually } from "../../support/processes.ts";

export interface Bench {
	/** Another node on the same state; the store itself again where an engine serves one node. */
	open(): Promise<StateStore>;
	/** What keeps the data ends and comes back; the next `open` gives a new store. */
	restart(): Promise<void>;
}

export interface Subject {
	readonly name: string;
	readonly durability: Durability;
	readonly isShared: boolean;
	readonly skip: string | false;
	/** False: the state ends with its store. */
	readonly isKept: boolean;
	bench(t: TestContext): Promise<Bench>;
}

export function conformance(subject: Subject): void {
	const behaviour = (title: string, run: (a: StateStore, b: StateStore, t: TestContext) => Promise<void>): void => {
		test(`${subject.name}: ${title}`, { skip: subject.skip }, async (t) => {
			const bench = await subject.bench(t);
			await run(await bench.open(), await bench.open(), t);
		});
	};

	behaviour("what is put is there, with the revision of its commit, until it is deleted", async (a, b) => {
		assert.deepEqual([a.engine, a.capabilities], [subject.name, { isShared: subject.isShared, durability: subject.durability }]);
		assert.equal(await get(a, "policies", "pay"), undefined);
		const first = await committed(a, [put("policies", "pay", { version: 1 })]);
		assert.deepEqual(await get(b, "policies", "pay"), { key: "pay", value: { version: 1 }, revision: first });
		const second = await committed(b, [put("policies", "pay", { version: 2 })]);
		assert.ok(second > first);
		assert.deepEqual(await get(a, "policies", "pay"), { key: "pay", value: { version: 2 }, revision: second });
		assert.equal(await get(a, "services", "pay"), undefined);
		await committed(a, [remove("policies", "pay")]);
		assert.equal(await get(b, "policies", "pay"), undefined);
	});

	behaviour("values come back as they went in", async (a, b) => {
		const values: unknown[] = [
			null,
			false,
			0,
			-1.5e300,
			9007199254740991,
			"",
			"nul \u0000, quote \" \\ ', astral \u{1f600}, lone \ud800, line\n$1 %s",
			[],
			{},
			{ z: 1, a: [{ deep: [null] }], "": 0, "\u0000": 1 },
			"x".repeat(VALUE_BYTES_MAX - 2),
		];
		for (const [index, value] of values.entries()) await committed(a, [put("values", `v${index}`, value)]);
		for (const [index, value] of values.entries()) {
			const found = (await get(b, "values", `v${index}`))?.value;
			assert.deepEqual(found, value);
			assert.equal(JSON.stringify(found), JSON.stringify(value), "the order of keys too");
		}
	});

	behaviour("a commit happens only where every entry has the revision expected of it, and then whole", async (a, b) => {
		const one = await committed(a, [put("keys", "one", 1, 0), put("keys", "two", 1, 0)]);
		assert.deepEqual(conflictsOf(await b.commit([put("keys", "one", 2, 0)])), [{ table: "keys", key: "one", expected: 0, actual: one }]);
		const outcome = await b.commit([
			put("keys", "one", 2, one),
			put("keys", "three", 2, 0),
			remove("keys", "two", one + 7),
			check("keys", "four", one),
		]);
		assert.deepEqual(conflictsOf(outcome), [
			{ table: "keys", key: "two", expected: one + 7, actual: one },
			{ table: "keys", key: "four", expected: one, actual: 0 },
		]);
		assert.equal((await get(a, "keys", "one"))?.revision, one);
		assert.equal(await get(a, "keys", "three"), undefined);
		const two = await committed(b, [put("keys", "one", 2, one), remove("keys", "two", one), check("keys", "three", 0), put("other", "one", 2, 0)]);
		assert.deepEqual(await get(a, "keys", "one"), { key: "one", value: 2, revision: two });
		assert.equal(await get(a, "keys", "two"), undefined);
		assert.equal((await get(a, "other", "one"))?.revision, two);
		assert.equal((await a.commit([put("keys", "two", 3, one)])).ok, false, "a deleted entry has no revision any more");
	});

	behaviour("commits without effect leave the revision as it is", async (a, b) => {
		const revision = await committed(a, [put("keys", "one", 1)]);
		assert.equal(await committed(b, [check("keys", "one", revision)]), revision);
		assert.equal(await committed(b, [remove("keys", "none"), remove("keys", "neither", 0)]), revision);
		assert.equal((await list(a, "keys")).revision, revision);
		assert.deepEqual(await changesOf(a, "keys", 0), [{ key: "one", value: 1, revision }]);
	});

	behaviour("lists go by key in pages, with a prefix, and tell the revision to watch from", async (a, b) => {
		const keys = ["-", "A", "a", "a!", "a/", "a/1", "a/10", "a/2", "a0", "a~", "b", "~"];
		for (const key of keys.toReversed()) await committed(a, [put("names", key, key)]);
		const revision = await committed(a, [put("zzz", "a", 0)]);
		const all = await list(b, "names");
		assert.deepEqual([all.entries.map(({ key }) => key), all.next, all.revision], [keys, undefined, revision]);
		assert.deepEqual(await keysOf(b, "names", { prefix: "a/" }), ["a/", "a/1", "a/10", "a/2"]);
		assert.deepEqual(await keysOf(b, "names", { prefix: "a/1", limit: 1 }), ["a/1", "a/10"]);
		assert.deepEqual(await keysOf(b, "names", { limit: 5 }), keys);
		assert.deepEqual(await keysOf(b, "names", { after: "a/10" }), ["a/2", "a0", "a~", "b", "~"]);
		assert.deepEqual(await list(b, "nothing"), { entries: [], next: undefined, revision });
		const large = "x".repeat(200_000);
		for (let i = 10; i < 30; i++) await committed(a, [put("large", `k${i}`, large)]);
		const page = await list(b, "large");
		assert.ok(page.entries.length > 5 && page.entries.length < 20, `${page.entries.length} in a page of 2 MiB`);
		assert.equal((await keysOf(b, "large")).length, 20);
	});

	behaviour("names and sizes beyond the bounds are refused, and nothing is written", async (a) => {
		const refused: [RegExp, readonly Write[]][] = [
			[/1 to 128 writes, not 0/, []],
			[/1 to 128 writes, not 129/, Array.from({ length: 129 }, (_, i) => put("keys", `k${i}`, 0))],
			[/"Keys" is no name of a table/, [put("Keys", "k", 0)]],
			[/is no name of a table/, [put("k".repeat(65), "k", 0)]],
			[/"" is no key/, [put("keys", "", 0)]],
			[/"a b" is no key/, [put("keys", "a b", 0)]],
			[/"\u00e9" is no key/, [put("keys", "\u00e9", 0)]],
			[/"a\\u0000" is no key/, [put("keys", "a\u0000", 0)]],
			[/is no key/, [put("keys", "k".repeat(257), 0)]],
			[/keys\/k stands in the commit twice/, [put("keys", "good", 0), put("keys", "k", 0), remove("keys", "k")]],
			[/keys\/k takes 262145 bytes/, [put("keys", "good", 0), put("keys", "k", "x".repeat(VALUE_BYTES_MAX - 1))]],
			[/the commit takes \d+ bytes/, [put("keys", "k", "x".repeat(250_000)), put("keys", "l", "x".repeat(250_000))]],
			[/-1 is no revision/, [put("keys", "k", 0, -1)]],
			[/1.5 is no revision/, [check("keys", "k", 1.5)]],
		];
		for (const [detail, writes] of refused) {
			const outcome = await a.commit(writes);
			assert.ok(!outcome.ok && outcome.failure === "invalid", String(detail));
			assert.match(outcome.detail, detail);
		}
		await assert.rejects(a.commit([put("keys", "k", undefined)]), TypeError);
		for (const outcome of [
			await a.get("keys", ""),
			await a.get("Keys", "k"),
			await a.list("keys", { limit: 0 }),
			await a.list("keys", { limit: 1001 }),
			await a.list("keys", { prefix: " " }),
			await a.changes("_quiet", 0),
			await a.saveCursor("a b", 0),
			await a.saveCursor("c", "x".repeat(16 * 1024)),
			await a.cursor(""),
		])
			assert.equal(!outcome.ok && outcome.failure, "invalid");
		assert.deepEqual((await list(a, "keys")).entries, []);
	});

	behaviour("of two nodes that race for one revision exactly one wins, every time", async (a, b) => {
		const start = await committed(a, [put("counters", "c", { count: 0, wins: [] as string[] }, 0)]);
		const rounds = 40;
		const add = async (store: StateStore, who: string): Promise<number> => {
			let conflicts = 0;
			for (let done = 0; done < rounds; ) {
				const found = await get(store, "counters", "c");
				assert.ok(found);
				const { count, wins } = found.value as { count: number; wins: string[] };
				const outcome = await store.commit([put("counters", "c", { count: count + 1, wins: [...wins, who] }, found.revision)]);
				if (outcome.ok) done++;
				else {
					assert.equal(conflictsOf(outcome).length, 1);
					conflicts++;
				}
			}
			return conflicts;
		};
		await Promise.all([add(a, "a"), add(b, "b"), add(a, "c")]);
		const counter = await get(b, "counters", "c");
		assert.ok(counter);
		const { count, wins } = counter.value as { count: number; wins: string[] };
		assert.equal(count, 3 * rounds);
		for (const who of ["a", "b", "c"]) assert.equal(wins.filter((winner) => winner === who).length, rounds);
		assert.equal((await get(a, "counters", "c"))?.revision, start + 3 * rounds);
		const same = (await get(a, "counters", "c"))?.revision ?? 0;
		const all = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? a : b).commit([put("counters", "c", i, same)])));
		assert.equal(all.filter(({ ok }) => ok).length, 1);
	});

	behaviour("a watch shows each change once and in order, whichever node wrote it, from any revision", async (a, b, t) => {
		const written: Promise<CommitOutcome>[] = [];
		const live = [follow(t, a, "services", 0), follow(t, b, "services", 0)];
		for (let i = 0; i < 150; i++) {
			const store = i % 3 === 0 ? a : b;
			written.push(store.commit([put("services", `s${i % 7}`, i), put("services", `t${i}`, i), put("policies", "p", i), put("_quiet", "q", i)]));
			if (i % 10 === 0) written.push(store.commit([remove("services", `s${i % 7}`)]));
			if (i % 25 === 0) await Promise.all(written);
		}
		const outcomes = await Promise.all(written);
		const revisions = outcomes.map((outcome) => (outcome.ok ? outcome.revision : assert.fail(JSON.stringify(outcome))));
		const last = Math.max(...revisions);
		const seen = await Promise.all(live.map((watcher) => watcher.until(last)));
		assert.equal(seen[0]?.length, 315);
		assert.deepEqual(seen[0], seen[1]);
		assert.deepEqual(
			seen[0]?.map(({ revision }) => revision),
			seen[0]?.map(({ revision }) => revision).sort((x, y) => x - y),
		);
		assert.deepEqual(new Set(seen[0]?.map(({ revision }) => revision)), new Set(revisions), "no revision is missing");
		for (const store of [a, b]) {
			assert.deepEqual(await changesOf(store, "services", 0), seen[0]);
			const middle = revisions[70] ?? 0;
			assert.deepEqual(
				await changesOf(store, "services", middle),
				seen[0]?.filter(({ revision }) => revision > middle),
			);
		}
		const replayed = new Map<string, unknown>();
		for (const { key, value } of seen[0] ?? []) {
			if (value === undefined) replayed.delete(key);
			else replayed.set(key, value);
		}
		const entries = (await list(b, "services")).entries;
		assert.deepEqual(new Map(entries.map(({ key, value }) => [key, value])), new Map([...replayed].sort()));
	});

	behaviour("a watch that is further behind than the history is told to begin anew", async (a, b, t) => {
		const first = await committed(a, [put("services", "first", 0)]);
		const commits = Math.ceil(HISTORY_CHANGES_MAX / 100) + 260;
		const outcomes = await Promise.all(
			Array.from({ length: commits }, (_, i) => a.commit(Array.from({ length: 100 }, (_, k) => put("services", `s${k}`, i)))),
		);
		assert.ok(outcomes.every(({ ok }) => ok));
		assert.deepEqual(await value(b.changes("services", first)), { kind: "reset" });
		const items: WatchItem[] = [];
		for await (const item of watch(b, "services", first, { signal: t.signal, clock: systemClock })) items.push(item);
		assert.deepEqual(items, [{ kind: "reset" }]);
		const { revision } = await list(b, "services");
		assert.deepEqual(await changesOf(b, "services", revision), []);
		assert.ok((await changesOf(b, "services", revision - 100)).length === 100 * 100);
		assert.deepEqual(await value(b.changes("services", revision + 1)), { kind: "reset" }, "a revision of another store");
	});

	behaviour("the last save of a cursor wins, and many at once are durable together", async (a, b) => {
		assert.equal(await value(a.cursor("sub/1")), undefined);
		const saved = await Promise.all(Array.from({ length: 2000 }, (_, i) => a.saveCursor(`sub/${i % 50}`, { at: i, flying: [i + 1] })));
		assert.deepEqual(
			new Set(saved.map((outcome) => JSON.stringify(outcome))),
			new Set([JSON.stringify({ ok: true, durability: subject.durability })]),
		);
		for (let i = 0; i < 50; i++) assert.deepEqual(await value(b.cursor(`sub/${i}`)), { at: 1950 + i, flying: [1951 + i] });
		assert.ok(a.stats().cursorsMerged > 0);
		assert.ok((await b.saveCursor("sub/1", 7)).ok);
		assert.equal(await value(a.cursor("sub/1")), 7);
		assert.ok((await b.saveCursor("sub/1", undefined)).ok);
		assert.equal(await value(a.cursor("sub/1")), undefined);
		assert.deepEqual(await value(a.cursor("sub/10")), { at: 1960, flying: [1961] });
		const page = await value(a.cursors({ prefix: "sub/1", limit: 3 }));
		assert.deepEqual(page, {
			entries: [10, 11, 12].map((i) => ({ name: `sub/${i}`, value: { at: 1950 + i, flying: [1951 + i] } })),
			next: "sub/12",
		});
		assert.equal((await value(a.cursors({ prefix: "sub/" }))).entries.length, 49);
		assert.equal(await value(a.list("sub")).then(({ entries }) => entries.length), 0, "cursors are in no table");
	});

	behaviour("a cursor is not moved by whoever has lost its fence", async (a, b) => {
		const old = await committed(a, [put("leases", "sub", "a", 0)]);
		const fence = { table: "leases", key: "sub", revision: old };
		assert.ok((await a.saveCursor("sub", 1, fence)).ok);
		const [taken, late] = await Promise.all([b.commit([put("leases", "sub", "b", old)]), a.saveCursor("sub", 2, fence)]);
		assert.ok(taken.ok);
		const before = late.ok ? 2 : 1;
		assert.equal(await value(b.cursor("sub")), before);
		assert.deepEqual(await a.saveCursor("sub", 3, fence), { ok: false, failure: "fenced" });
		assert.deepEqual(await a.saveCursor("sub", undefined, fence), { ok: false, failure: "fenced" });
		assert.deepEqual(await a.saveCursor("other", 3, { ...fence, key: "none" }), { ok: false, failure: "fenced" });
		assert.equal(await value(b.cursor("sub")), before);
		assert.ok((await b.saveCursor("sub", 4, { ...fence, revision: taken.revision })).ok);
		assert.equal(await value(a.cursor("sub")), 4);
	});

	behaviour(
		"of two nodes that ask for a lease one has it; a silent owner is replaced, and can neither commit nor move a cursor any more",
		async (a, b) => {
			const clocks = [new FakeClock(), new FakeClock(0)] as const;
			const nodes = [new Leases(a, clocks[0]), new Leases(b, clocks[1])] as const;
			const ask = (node: 0 | 1, name: string): Promise<AcquireOutcome> => nodes[node].acquire(name, { owner: `node-${node}`, ttlMs: 10_000 });
			for (let round = 0; round < 15; round++) {
				const name = `duty-${round}`;
				const both = await Promise.all([ask(0, name), ask(1, name)]);
				const winner = both[0].ok ? 0 : 1;
				const [lease, refused] = [both[winner], both[1 - winner]];
				assert.ok(lease?.ok && refused?.ok === false && refused.failure === "held", JSON.stringify(both));
				const other = winner === 0 ? 1 : 0;
				assert.equal((await ask(other, name)).ok, false);
				clocks[other].jumpWall(round % 2 === 0 ? 1e12 : -1e12);
				clocks[other].advance(9_999);
				assert.equal((await ask(other, name)).ok, false);
				clocks[other].advance(1);
				const taken = await ask(other, name);
				assert.ok(taken.ok, JSON.stringify(taken));
				assert.ok(taken.lease.fence.revision > lease.lease.fence.revision);
				const [mine, theirs] = winner === 0 ? [a, b] : [b, a];
				assert.equal((await mine.commit([put("work", name, winner), fenceOf(lease.lease)])).ok, false);
				assert.deepEqual(await mine.saveCursor(name, 1, lease.lease.fence), { ok: false, failure: "fenced" });
				assert.equal((await theirs.commit([put("work", name, other), fenceOf(taken.lease)])).ok, true);
				assert.equal((await theirs.saveCursor(name, 2, taken.lease.fence)).ok, true);
			}
		},
	);

	behaviour("writers beyond what may wait are told to come again; what was taken is kept", async (a) => {
		const blob = "x".repeat(250_000);
		const count = Math.ceil(PENDING_BYTES_MAX / blob.length) + 40;
		const outcomes = await Promise.all(Array.from({ length: count }, (_, i) => a.commit([put("blobs", `b${i % 10}`, blob)])));
		const refused = outcomes.filter((outcome) => !outcome.ok && outcome.failure === "overloaded").length;
		assert.ok(refused >= 39, `${refused} refused`);
		assert.ok(outcomes.every((outcome) => outcome.ok || outcome.failure === "overloaded"));
		assert.equal(a.stats().pendingBytes, 0);
		await committed(a, [put("blobs", "after", blob)]);
	});

	behaviour("closing writes what was asked before it, and refuses what is asked after it", async (a) => {
		const asked = [a.commit([put("keys", "k", 1)]), a.saveCursor("c", 1)];
		const closing = a.close();
		const late = [a.commit([put("keys", "l", 1)]), a.saveCursor("d", 1), a.get("keys", "k"), a.list("keys"), a.changes("keys", 0), a.cursor("c")];
		for (const outcome of await Promise.all(asked)) assert.ok(outcome.ok);
		for (const outcome of await Promise.all(late)) assert.equal(!outcome.ok && outcome.failure, "closed");
		await closing;
		await a.close();
	});

	if (!subject.isKept) return;
	test(`${subject.name}: what was acknowledged is there after a restart, with its revisions and its history`, { skip: subject.skip }, async (t) => {
		const bench = await subject.bench(t);
		const before = await bench.open();
		const revisions: number[] = [];
		for (let i = 0; i < 20; i++) revisions.push(await committed(before, [put("services", `s${i}`, i)]));
		await before.saveCursor("c", 20);
		await bench.restart();
		const after = await bench.open();
		assert.deepEqual(
			(await changesOf(after, "services", 0)).map(({ revision }) => revision),
			revisions,
		);
		assert.equal(await value(after.cursor("c")), 20);
		const next = await committed(after, [put("services", "s0", "again", revisions[0])]);
		assert.deepEqual(await changesOf(after, "services", revisions.at(-1) ?? 0), [{ key: "s0", value: "again", revision: next }]);
	});
	if (!subject.isShared) return;
	test(`${subject.name}: two nodes write and watch through crashes of the server: nothing acknowledged is lost, no watch has a gap`, {
		skip: subject.skip,
	}, async (t) => {
		const bench = await subject.bench(t);
		const nodes = [await bench.open(), await bench.open()] as const;
		const watchers = nodes.map((node) => follow(t, node, "services", 0));
		const acknowledged = new Map<string, number>();
		const failures = new Set<string>();
		let isOver = false;
		const writers = nodes.flatMap((node, n) =>
			[0, 1, 2].map(async (writer) => {
				for (let i = 0; !isOver; i++) {
					const key = `${n}-${writer}-${i}`;
					const outcome = await node.commit([put("services", key, i, 0)]);
					if (outcome.ok) acknowledged.set(key, outcome.revision);
					else failures.add(outcome.failure);
					// A server that is down refuses at once; without a pause the loop would spin.
					if (!outcome.ok) await new Promise((resolve) => setTimeout(resolve, 20));
				}
			}),
		);
		const reach = (count: number): Promise<void> => eventually(`${count} commits are acknowledged`, async () => acknowledged.size >= count);
		for (let crash = 1; crash <= 3; crash++) {
			await reach(crash * 150);
			await bench.restart();
		}
		await reach(600);
		isOver = true;
		await Promise.all(writers);
		const last = Math.max(...acknowledged.values());
		const [seen, other] = await Promise.all(watchers.map((watcher) => watcher.until(last)));
		const upTo = (seen ?? []).filter(({ revision }) => revision <= last);
		assert.deepEqual(
			upTo,
			(other ?? []).filter(({ revision }) => revision <= last),
		);
		assert.equal(new Set(upTo.map(({ key }) => key)).size, upTo.length, "seen twice");
		const revisions = new Map(upTo.map(({ key, revision }) => [key, revision]));
		for (const [key, revision] of acknowledged) assert.equal(revisions.get(key), revision, key);
		assert.deepEqual(
			[...revisions.values()],
			Array.from({ length: last }, (_, i) => i + 1),
		);
		for (const failure of failures) assert.match(failure, /^(unknown|unavailable)$/);
	});
}

export async function committed(store: StateStore, writes: readonly Write[]): Promise<number> {
	const outcome = await store.commit(writes);
	if (!outcome.ok) assert.fail(JSON.stringify(outcome));
	return outcome.revision;
}

export async function value<T>(read: Promise<Read<T>>): Promise<T> {
	const found = await read;
	if (!found.ok) assert.fail(JSON.stringify(found));
	return found.value;
}

export function get(store: StateStore, table: string, key: string): Promise<Entry | undefined> {
	return value(store.get(table, key));
}

export function list(store: StateStore, table: string, query?: PageQuery): Promise<Page> {
	return value(store.list(table, query));
}

export async function changesOf(store: StateStore, table: string, after: number): Promise<Change[]> {
	const changes: Change[] = [];
	for (let from = after; ; ) {
		const page = await value(store.changes(table, from));
		if (page.kind !== "changes") assert.fail(page.kind);
		changes.push(...page.changes);
		from = page.revision;
		if (page.atEnd) return changes;
	}
}

async function keysOf(store: StateStore, table: string, query: PageQuery = {}): Promise<string[]> {
	const keys: string[] = [];
	for (let after = query.after; ; ) {
		const page = await list(store, table, after === undefined ? query : { ...query, after });
		keys.push(...page.entries.map(({ key }) => key));
		if (page.next === undefined) return keys;
		after = page.next;
	}
}

function conflictsOf(outcome: CommitOutcome): readonly Conflict[] {
	if (outcome.ok || outcome.failure !== "conflict") assert.fail(JSON.stringify(outcome));
	return outcome.conflicts;
}

export interface Follower {
	/** All changes up to that revision, as soon as they are there. */
	until(revision: number): Promise<Change[]>;
}

export function follow(t: TestContext, store: StateStore, table: string, after: number): Follower {
	const seen: Change[] = [];
	let reached = after;
	let look = (): void => {};
	const stop = new AbortController();
	const done = (async () => {
		for await (const item of watch(store, table, after, { signal: stop.signal, clock: systemClock })) {
			if (item.kind === "failing") continue;
			if (item.kind === "reset") assert.fail("the history is cut");
			seen.push(...item.changes);
			reached = item.revision;
			look();
		}
	})();
	t.after(async () => {
		stop.abort();
		await done;
	});
	return {
		until: (revision) =>
			new Promise((resolve, reject) => {
				done.catch(reject);
				look = () => {
					if (reached >= revision) resolve(seen);
				};
				look();
			}),
	};
}
