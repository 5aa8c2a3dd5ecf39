/** Two nodes of Nexus on a log on Redis and a state in PostgreSQL, which goes away for longer than their leases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UNWRITTEN_MAX, WINDOW } from "../../../src/nexus/subscriptions/limits.ts";
import { eventually } from "../../support/processes.ts";
import { skipWithout, startRedis } from "../log/servers.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import {
	assertDelivered,
	Load,
	makeLanes,
	namesOfSlices,
	produceAll,
	settled,
	sharesOf,
	startNodes,
	startReceiver,
	statusOf,
	storedAt,
} from "./nodes.ts";

const skip = skipWithout("redis-server") || skipWithoutPostgres;
const LANES = namesOfSlices(8);

test("while the state is away events are taken and nobody delivers; all go on when it is back", { skip, timeout: 180_000 }, async (t) => {
	const postgres = await PostgresServer.start();
	t.after(() => postgres.stop());
	const { url } = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"]);
	const { nodes } = await startNodes(t, `log: { redis: { url: '${url}' } }\nstate: { postgres: { url: '${postgres.url}' } }\n`);
	const [a, b] = nodes;
	assert.ok(a !== undefined && b !== undefined);
	await settled(nodes);
	const receiver = await startReceiver(t);
	await makeLanes(a.url, receiver, LANES);
	const load = new Load(receiver.arrivals, LANES);
	const producing = produceAll(() => nodes.map(({ url }) => url), load.goesOn);
	await eventually("all deliver", async () => new Set(receiver.arrivals.map(({ lane }) => lane)).size === LANES.length);

	await postgres.crash();
	await eventually("no node dispatches", async () => (await sharesOf(nodes)).every((share) => share === 0));
	const event = { specversion: "1.0", id: "away", source: "/test", type: "test.keyed", partitionkey: "away", data: { key: "away", n: 0 } };
	const headers = { "content-type": "application/cloudevents+json" };
	assert.equal(await statusOf(`${a.url}/v1/events`, { method: "POST", headers, body: JSON.stringify(event) }), 200);
	await eventually("the other node has it", async () => (await storedAt(b.url)).some((stored) => stored.event.id === "away"));
	for (const lane of LANES) assert.equal(await statusOf(`${b.url}/v1/subscriptions/${lane}`), 503);
	assert.ok(!receiver.arrivals.some(({ id }) => id === "away"));

	await postgres.resume();
	await settled(nodes);
	load.end();
	await producing.done;
	const accepted = new Set([...producing.accepted, "away"]);
	const repeated = await assertDelivered(receiver, LANES, { ...producing, accepted });
	t.diagnostic(`repeated: ${repeated}`);
	// Acknowledged and not to be written down, and what was under way.
	for (const [i, lane] of LANES.entries()) assert.ok((repeated[i] ?? 0) <= UNWRITTEN_MAX + WINDOW, `${lane} brought ${repeated[i]} twice`);
});
