/** State on a real nats-server with JetStream, with two nodes on it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { systemClock } from "../../../src/core/clock.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { put, remove, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { eventually } from "../../support/processes.ts";
import { type NatsServer, skipWithout, startNats } from "../log/servers.ts";
import { changesOf, committed, conformance, follow, get, list, value } from "./conformance.ts";
import { pausable, withholding } from "./pausable.ts";

const skip = skipWithout("nats-server");

conformance({
	name: "nats",
	durability: "os",
	isShared: true,
	isKept: true,
	skip,
	async bench(t) {
		const nats = await startNats(t);
		return {
			open: () => open(t, nats),
			async restart() {
				await nats.server.kill();
				await nats.server.start();
			},
		};
	},
});

test("the log is cut behind copies of all; nodes that follow, that come back and that are new have the same state", { skip }, async (t) => {
	const nats = await startNats(t);
	const options = { logBytesMin: 20_000 };
	const nodes = [await open(t, nats, options), await open(t, nats, options)] as const;
	const watchers = nodes.map((node) => follow(t, node, "services", 0));
	let manager = await managerOf(t, nats);
	let last = 0;
	const first = async (): Promise<number> => (await manager.streams.info("nexus-state")).state.first_seq;
	const write = async (from: number): Promise<void> => {
		for (let i = from; i < from + 400; i++) {
			const node = nodes[i % 2 === 0 ? 0 : 1];
			const [outcome, saved] = await Promise.all([
				node.commit([
					put("services", `s${i % 60}`, { i, text: "x".repeat(300) }),
					i % 7 === 0 ? remove("services", `s${(i + 9) % 60}`) : put("_q", "q", i),
				]),
				node.saveCursor(`c${i % 10}`, i),
			]);
			assert.ok(outcome.ok && saved.ok);
			last = outcome.revision;
		}
	};
	await write(0);
	await eventually("the log is cut", async () => (await first()) > 50);
	await nats.server.kill();
	await nats.server.start();
	manager = await managerOf(t, nats);
	await eventually("the connection is back", async () => (await nodes[0].get("services", "s1")).ok && (await nodes[1].get("services", "s1")).ok);
	const cutTo = await first();
	await write(400);
	await eventually("the log is cut again", async () => (await first()) > cutTo);
	const fresh = await open(t, nats, options);
	const state = async (store: StateStore): Promise<unknown> => [await list(store, "services"), await list(store, "_q"), await value(store.cursors())];
	const expected = await state(nodes[0]);
	assert.deepEqual(await state(nodes[1]), expected);
	assert.deepEqual(await state(fresh), expected);
	const [a, b] = await Promise.all(watchers.map((watcher) => watcher.until(last)));
	assert.deepEqual(a, b);
	assert.deepEqual(await value(fresh.changes("services", 0)), { kind: "reset" }, "its history begins with the copy");
	const revision = await committed(fresh, [put("services", "fresh", 1, 0)]);
	assert.equal((await get(nodes[1], "services", "fresh"))?.revision, revision);
	let chunks = 0;
	const { state: bucket } = await manager.streams.info("KV_nexus-state-copies", { subjects_filter: "$KV.nexus-state-copies.chunk.>" });
	for (const count of Object.values(bucket.subjects ?? {})) chunks += count;
	assert.ok(chunks >= 1 && chunks <= 4, `${chunks} parts of copies are kept`);
});

test("a node that was cut off while the log was cut goes on from a copy; its watches are told to begin anew", { skip }, async (t) => {
	const nats = await startNats(t);
	const options = { logBytesMin: 20_000 };
	const a = await open(t, nats, options);
	const proxy = await pausable(t, nats.address);
	const b = await open(t, { ...nats, address: proxy.address }, options);
	const revision = await committed(a, [put("services", "s", 0)]);
	assert.equal((await get(b, "services", "s"))?.revision, revision);
	proxy.pause();
	// More than what a consumer is sent ahead.
	for (let i = 0; i < 1000; i++) await committed(a, [put("services", `s${i % 50}`, { i, text: "x".repeat(200) })]);
	const manager = await managerOf(t, nats);
	await eventually("the log is cut", async () => (await manager.streams.info("nexus-state")).state.first_seq > 600);
	proxy.resume();
	await eventually("the node is back", async () => (await b.get("services", "s")).ok);
	assert.deepEqual(await list(b, "services"), await list(a, "services"));
	assert.deepEqual(await value(b.changes("services", revision)), { kind: "reset" });
	const next = await committed(b, [put("services", "s", 1, revision)]);
	assert.equal((await get(a, "services", "s"))?.revision, next);
});

test("a write whose place in the log is passed over by a copy is told as unknown, and the next one is taken", { skip }, async (t) => {
	const nats = await startNats(t);
	const proxy = await withholding(t, nats.address);
	const a = await open(t, { ...nats, address: proxy.address }, { answerTimeoutMs: 60_000 });
	const b = await open(t, nats, { logBytesMin: 20_000 });
	const manager = await managerOf(t, nats);
	const { state: before } = await manager.streams.info("nexus-state");
	await committed(a, [put("services", "s", 0)]);
	proxy.withhold();
	const written = a.commit([put("services", "mine", 1)]);
	await eventually("the server has it", async () => (await manager.streams.info("nexus-state")).state.last_seq === before.last_seq + 2);
	for (let i = 0; i < 400; i++) await committed(b, [put("services", `s${i % 50}`, { i, text: "x".repeat(300) })]);
	await eventually("the log is cut behind it", async () => (await manager.streams.info("nexus-state")).state.first_seq > before.last_seq + 2);
	proxy.cut();
	const outcome = await written;
	assert.equal(!outcome.ok && outcome.failure, "unknown");
	assert.equal((await get(a, "services", "mine"))?.value, 1);
	await committed(a, [put("services", "mine", 2)]);
});

test("what is not ours in the log is skipped by all; what a newer Nexus wrote stops all, and says so", { skip }, async (t) => {
	const nats = await startNats(t);
	const store = await open(t, nats, { answerTimeoutMs: 5000 });
	await committed(store, [put("keys", "k", 1)]);
	const client = await clientOf(t, nats);
	for (const text of ["hello", "null", "7", "{}"]) await client.publish("nexus-state.groups", text);
	const second = await committed(store, [put("keys", "k", 2)]);
	assert.equal((await get(await open(t, nats), "keys", "k"))?.revision, second);
	await client.publish("nexus-state.groups", '{"v":99}');
	const read = await store.get("keys", "k");
	assert.match(read.ok ? "" : read.detail, /a group of version 99, written by a newer Nexus/);
	const written = await store.commit([put("keys", "k", 3)]);
	assert.equal(!written.ok && written.failure, "unknown");
});

test("a log without room refuses writes as full, and takes them again once there is some", { skip }, async (t) => {
	const nats = await startNats(t);
	const store = await open(t, nats);
	const manager = await managerOf(t, nats);
	const { config } = await manager.streams.info("nexus-state");
	await manager.streams.update("nexus-state", { ...config, max_bytes: 200_000 });
	let fit = 0;
	for (; ; fit++) {
		const outcome = await store.commit([put("blobs", `b${fit}`, "x".repeat(30_000))]);
		if (outcome.ok) continue;
		assert.equal(outcome.failure, "full", JSON.stringify(outcome));
		break;
	}
	assert.ok(fit > 3);
	assert.equal((await list(store, "blobs")).entries.length, fit);
	await manager.streams.update("nexus-state", { ...config, max_bytes: -1 });
	assert.equal(await committed(store, [put("blobs", "after", 1)]), fit + 1, "a refused commit uses no revision");
});

test("a server that hangs makes no caller hang, and a write that nobody has answered is not written twice", { skip }, async (t) => {
	const nats = await startNats(t);
	const proxy = await pausable(t, nats.address);
	const store = await open(t, { ...nats, address: proxy.address }, { answerTimeoutMs: 300 });
	const first = await committed(store, [put("keys", "k", 1)]);
	proxy.pause();
	const written = await store.commit([put("keys", "k", 2, first)]);
	const read = await store.get("keys", "k");
	proxy.resume();
	assert.equal(!written.ok && written.failure, "unknown");
	assert.equal(!read.ok && read.failure, "unavailable");
	await eventually("the write is known", async () => {
		const outcome = await store.commit([put("keys", "k", 2, first)]);
		return outcome.ok || outcome.failure === "conflict";
	});
	assert.equal((await get(store, "keys", "k"))?.value, 2);
	assert.equal((await changesOf(store, "keys", 0)).length, 2);
});

test("a server that is not there and a stream that forgets are told; an acknowledgement names what the server promises", { skip }, async (t) => {
	const nats = await startNats(t);
	const wrong = async (options: { servers: readonly string[]; name?: string }): Promise<string> => {
		const opened = await openState({ engine: "nats", clock: systemClock, ...options });
		return opened.ok ? "it has opened" : opened.detail;
	};
	assert.match(await wrong({ servers: ["127.0.0.1:1"] }), /^NATS: .*refused/i);
	const manager = await managerOf(t, nats);
	await manager.streams.add({ name: "forgets", subjects: ["forgets.groups"], max_msgs: 5 });
	assert.match(await wrong({ servers: [nats.address], name: "forgets" }), /the stream forgets forgets by itself/);
	const store = await open(t, nats, { monitor: nats.monitor });
	assert.equal(store.capabilities.durability, "os", "it syncs every two minutes");
});

async function managerOf(t: TestContext, { address }: NatsServer): Promise<JetStreamManager> {
	const connection = await connect({ servers: [address] });
	t.after(() => connection.close());
	return jetstreamManager(connection);
}

async function clientOf(t: TestContext, { address }: NatsServer): Promise<JetStreamClient> {
	const connection = await connect({ servers: [address] });
	t.after(() => connection.close());
	return jetstream(connection);
}

async function open(
	t: TestContext,
	{ address }: NatsServer,
	options: { logBytesMin?: number; answerTimeoutMs?: number; monitor?: string } = {},
): Promise<StateStore> {
	const opened = await openState({ engine: "nats", servers: [address], clock: systemClock, ...options });
	if (!opened.ok) assert.fail(opened.detail);
	t.after(() => opened.store.close());
	return opened.store;
}
