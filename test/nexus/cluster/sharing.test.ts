/** Three nodes share subscriptions: they join and leave under load, and callers and consumers find theirs wherever they ask. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import { NexusClient } from "../../../src/client/nexus-client.ts";
import { eventually } from "../../support/processes.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import type { NexusProcess } from "../nexus-process.ts";
import {
	type Arrival,
	assertDelivered,
	holderOf,
	Load,
	makeLanes,
	namesOfSlices,
	produceAll,
	type Receiver,
	settled,
	startNodes,
	startReceiver,
} from "./nodes.ts";

const skip = skipWithout("nats-server");
/** Long enough that nothing happens by silence here, on a busy machine. */
const LEASE_MS = 10_000;
const LANES = namesOfSlices(8);

interface Listed {
	readonly name: string;
	readonly node?: string;
	readonly state: string;
	readonly position: number;
	readonly deliveries: { readonly acked: number };
	readonly lag: { readonly open: number };
}

async function listedBy({ url }: NexusProcess): Promise<Listed[]> {
	const all: Listed[] = [];
	for (let after: string | null = ""; after !== null; ) {
		const answer = await fetch(`${url}/v1/subscriptions?limit=3${after === "" ? "" : `&after=${after}`}`);
		assert.equal(answer.status, 200);
		const page = (await answer.json()) as { subscriptions: Listed[]; next: string | null };
		all.push(...page.subscriptions);
		after = page.next;
	}
	return all;
}

async function idOf({ url }: NexusProcess): Promise<string> {
	return ((await (await fetch(`${url}/v1/status`)).json()) as { node: string }).node;
}

/** For how long nothing came, at most, from then on; by lane. */
function gapsOf({ arrivals }: Receiver, lanes: readonly string[], fromMs: number): readonly number[] {
	return lanes.map((lane) => {
		const times = arrivals.filter((arrival) => arrival.lane === lane && arrival.atMs >= fromMs).map(({ atMs }) => atMs);
		return Math.round(Math.max(0, ...times.map((atMs, i) => atMs - (times[i - 1] ?? fromMs))));
	});
}

test("a node that joins under load is handed its share in order, and one that stops hands it back: nothing is lost, and nothing comes twice", {
	skip,
	timeout: 180_000,
}, async (t) => {
	const { address } = await startNats(t);
	const { nodes, start } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 2, LEASE_MS);
	const [a, b] = nodes;
	assert.ok(a !== undefined && b !== undefined);
	await settled(nodes);
	const receiver = await startReceiver(t);
	await makeLanes(b.url, receiver, LANES);
	const load = new Load(receiver.arrivals, LANES);
	const producing = produceAll(() => [a.url], load.goesOn);
	await eventually("all deliver", async () => new Set(receiver.arrivals.map(({ lane }) => lane)).size === LANES.length);

	const joinedAtMs = performance.now();
	const c = await start(2);
	await settled([a, b, c]);
	const joinGaps = gapsOf(receiver, LANES, joinedAtMs);
	const holders = await Promise.all(LANES.map((lane) => holderOf([a, b, c], lane)));
	assert.equal(new Set(holders).size, 3, `${holders}`);
	const before = receiver.arrivals.length;
	await eventually("all deliver again", async () => new Set(receiver.arrivals.slice(before).map(({ lane }) => lane)).size === LANES.length);

	const stoppedAtMs = performance.now();
	await b.stop("SIGTERM");
	await settled([a, c]);
	const stopGaps = gapsOf(receiver, LANES, stoppedAtMs);
	load.end();
	await producing.done;
	const repeated = await assertDelivered(receiver, LANES, producing);
	t.diagnostic(`longest silence of each subscription, in ms: ${joinGaps} around the join, ${stopGaps} around the stop; repeated: ${repeated}`);
	assert.deepEqual(
		repeated,
		LANES.map(() => 0),
	);
});

test("all nodes list all subscriptions with the node that has them, and send callers there", { skip, timeout: 180_000 }, async (t) => {
	const { address } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 3, LEASE_MS);
	await settled(nodes);
	const [first] = nodes;
	assert.ok(first !== undefined);
	const receiver = await startReceiver(t);
	await makeLanes(first.url, receiver, LANES);
	const producing = produceAll(
		() => [first.url],
		(n) => n < 5,
	);
	await producing.done;
	await assertDelivered(receiver, LANES, producing);
	const ids = await Promise.all(nodes.map(idOf));
	const wanted = await Promise.all(
		LANES.map(async (name) => ({ name, node: ids[await holderOf(nodes, name)], acked: producing.accepted.size, open: 0 })),
	);
	wanted.sort((x, y) => (x.name < y.name ? -1 : 1));
	await eventually("all list the same", async () => {
		const lists = await Promise.all(nodes.map(listedBy));
		const shown = lists.map((list) => list.map(({ name, node, deliveries, lag }) => ({ name, node, acked: deliveries.acked, open: lag.open })));
		return shown.every((list) => JSON.stringify(list) === JSON.stringify(wanted));
	});

	const [name = ""] = LANES;
	const holder = await holderOf(nodes, name);
	const other = nodes[(holder + 1) % nodes.length];
	assert.ok(other !== undefined);
	const upgrade = { connection: "upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
	const asked: readonly [method: string, path: string, headers?: Record<string, string>][] = [
		["GET", ""],
		["PUT", ""],
		["DELETE", ""],
		["POST", "/pause"],
		["POST", "/fetch"],
		["POST", "/ack"],
		["GET", "/dead-letters?limit=1"],
		["POST", "/dead-letters/replay"],
		["GET", "/stream"],
		["GET", "/socket?credit=4", upgrade],
	];
	for (const [method, rest, headers = {}] of asked) {
		const path = `/v1/subscriptions/${name}${rest}`;
		const { promise, resolve, reject } = Promise.withResolvers<readonly [number | undefined, string | undefined]>();
		const req = request(`${other.url}${path}`, { method, headers }, (res) => {
			res.resume();
			resolve([res.statusCode, res.headers.location]);
		});
		req.on("error", reject).end();
		assert.deepEqual(await promise, [307, `${nodes[holder]?.url}${path}`], `${method} ${path}`);
	}
});

for (const over of ["socket", "poll"] as const) {
	test(`consumers over ${over}s go on where their subscription goes, and finish what they have begun`, { skip, timeout: 180_000 }, async (t) => {
		const { address } = await startNats(t);
		const { nodes, start } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 1, LEASE_MS);
		const [a] = nodes;
		assert.ok(a !== undefined);
		const client = new NexusClient({ url: a.url, source: "/test" });
		const names = namesOfSlices(4, "queue");
		for (const name of names) await client.subscriptions.put(name, { filter: { type: "test.keyed" }, sink: { kind: "pull" }, strategy: "keyed" });
		const stop = new AbortController();
		t.after(() => stop.abort());
		const arrivals: Arrival[] = [];
		const consuming = names.map((lane) =>
			client.subscriptions.consume(
				lane,
				({ id, data }) => void arrivals.push({ lane, id, ...(data as { key: string; n: number }), atMs: performance.now() }),
				{ over, signal: stop.signal, concurrency: 4 },
			),
		);
		const load = new Load(arrivals, names);
		const producing = produceAll(() => [a.url], load.goesOn);
		await eventually("all deliver", async () => new Set(arrivals.map(({ lane }) => lane)).size === names.length);
		const b = await start(1);
		await settled([a, b]);
		const holders = await Promise.all(names.map((name) => holderOf([a, b], name)));
		assert.equal(new Set(holders).size, 2, `${holders}`);
		const before = arrivals.length;
		await eventually("all deliver again", async () => new Set(arrivals.slice(before).map(({ lane }) => lane)).size === names.length);
		load.end();
		await producing.done;
		const repeated = await assertDelivered({ url: "", arrivals }, names, producing);
		t.diagnostic(`repeated: ${repeated}`);
		stop.abort();
		await Promise.all(consuming);
	});
}
