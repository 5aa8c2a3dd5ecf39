/** The log on a real JetStream. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import { openNatsLog } from "../../../src/nexus/log/nats-log.ts";
import { eventually } from "../../support/processes.ts";
import { logConformance } from "./conformance.ts";
import { skipWithout, startNats } from "./servers.ts";
import { batchOf, idOf, numbered, readAll } from "./support.ts";

const skip = skipWithout("nats-server");
const common = { stream: "NEXUS", replicas: 1, clock: systemClock, log: silentLogger };

logConformance("nats", {
	capabilities: BACKENDS.nats,
	skip,
	hasServer: true,
	async make(t) {
		const { server, address } = await startNats(t);
		return {
			server,
			async open() {
				const log = await openNatsLog({ ...common, servers: [address] });
				t.after(() => log.close());
				return log;
			},
		};
	},
});

test("nats: nothing to connect to is an error that names it", { skip }, async () => {
	await assert.rejects(openNatsLog({ ...common, servers: ["127.0.0.1:1"] }), /connection refused|ECONNREFUSED/i);
});

test("nats: a stream that is full refuses as a full disk does, and goes on when there is room", { skip }, async (t) => {
	const { address } = await startNats(t);
	const log = await openNatsLog({ ...common, servers: [address] });
	t.after(() => log.close());
	const { jetstreamManager } = await import("@nats-io/jetstream");
	const { connect } = await import("@nats-io/transport-node");
	const connection = await connect({ servers: [address] });
	t.after(() => connection.close());
	const manager = await jetstreamManager(connection);
	await manager.streams.update("NEXUS", { max_bytes: 20_000 });
	let taken = 0;
	let refused: string | undefined;
	for (let i = 0; refused === undefined; i++) {
		const outcome = await log.append(batchOf([{ id: String(i), data: "x".repeat(1000) }]));
		if (outcome.ok) taken++;
		else refused = outcome.failure;
		assert.ok(i < 100);
	}
	assert.equal(refused, "full");
	assert.equal((await readAll(log)).length, taken);
	await manager.streams.update("NEXUS", { max_bytes: 200_000 });
	assert.equal((await log.append(batchOf([{ id: "after" }]))).ok, true);
	assert.equal((await readAll(log)).map(idOf).at(-1), "after");
	assert.equal(log.stats().isFailing, false);
});

test("nats: what somebody else writes into the stream and is no event is told as damage, and holds up nothing", { skip }, async (t) => {
	const { address } = await startNats(t);
	const log = await openNatsLog({ ...common, servers: [address] });
	t.after(() => log.close());
	const { jetstream } = await import("@nats-io/jetstream");
	const { connect } = await import("@nats-io/transport-node");
	const connection = await connect({ servers: [address] });
	t.after(() => connection.close());
	await log.append(batchOf([{ id: "before" }]));
	for (const payload of ["not JSON", "null", "[]", '{"id":7,"source":"/s","type":"t"}']) await jetstream(connection).publish("NEXUS.events", payload);
	await log.append(batchOf([{ id: "after" }]));
	for (const order of ["asc", "desc"] as const) {
		const page = await log.read({ order, limit: 100, type: "t" });
		assert.deepEqual(page.events.map(idOf).toSorted(), ["after", "before"]);
		assert.deepEqual(page.damaged, [{ first: 2, last: 5 }]);
	}
	assert.equal(log.stats().isFailing, false);
});

test("nats: a server that hangs is given up, and its events are taken once when it goes on", { skip }, async (t) => {
	const { server, address } = await startNats(t);
	const log = await openNatsLog({ ...common, servers: [address] });
	t.after(() => log.close());
	await log.append(batchOf([{ id: "before" }]));
	await server.hang();
	const hanging = await log.append(batchOf([{ id: "hanging" }]));
	assert.equal(hanging.ok || hanging.failure, "unavailable");
	server.goOn();
	await eventually("it is taken", async () => (await log.append(batchOf([{ id: "hanging" }]))).ok);
	assert.deepEqual((await readAll(log)).map(idOf), ["before", "hanging"]);
});

test("nats: without proof that the server syncs first, no more than `os` is promised", { skip }, async (t) => {
	const { address, monitor } = await startNats(t);
	const log = await openNatsLog({ ...common, servers: [address], monitor });
	t.after(() => log.close());
	assert.equal(log.capabilities.durability, "os");
	assert.match(log.capabilities.durabilityBasis, /syncs later/);
});

/** Debian's is older. */
function knowsSyncAlways(): boolean {
	const [, major = "0", minor = "0"] = /v(\d+)\.(\d+)/.exec(spawnSync("nats-server", ["--version"]).stdout?.toString() ?? "") ?? [];
	return Number(major) > 2 || (Number(major) === 2 && Number(minor) >= 12);
}

if (knowsSyncAlways()) {
	test("nats: a server that says sync_interval: always gives durability `disk`", async (t) => {
		const { address, monitor } = await startNats(t, ", sync_interval: always");
		const log = await openNatsLog({ ...common, servers: [address], monitor });
		t.after(() => log.close());
		const outcome = await log.append(batchOf(numbered("a", 3)));
		assert.equal(outcome.ok && outcome.durability, "disk");
	});
}
