/** The client beside two nodes of Nexus on one NATS, of which one dies: the one that was asked, and the one that delivers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NexusClient } from "nexus-mesh/client";
import { holderOf, namesOfSlices, settled, startNodes } from "../nexus/cluster/nodes.ts";
import { skipWithout, startNats } from "../nexus/log/servers.ts";
import { until } from "../nexus/subscriptions/support.ts";

const skip = skipWithout("nats-server");
const COUNT = 200;

for (const over of ["socket", "poll"] as const) {
	test(`over a ${over}: consumers of both nodes go on where one is killed, also where it is the one that was asked`, {
		skip,
		timeout: 120_000,
	}, async (t) => {
		const { address } = await startNats(t);
		const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`);
		await settled(nodes);
		const [asked, other] = nodes;
		assert.ok(asked !== undefined && other !== undefined);
		const client = new NexusClient({ url: [asked.url, other.url], source: "/s", rng: () => 0.05 });
		const lanes = namesOfSlices(4);
		const holders: number[] = [];
		for (const lane of lanes) {
			await client.subscriptions.put(lane, { filter: { type: "t" }, sink: { kind: "pull" }, delivery: { backoff: ["100ms"] }, from: "all" });
			holders.push(await holderOf(nodes, lane));
		}
		assert.deepEqual(new Set(holders), new Set([0, 1]), "each node has some");

		const stop = new AbortController();
		const handled = lanes.map(() => new Set<string>());
		const breaks: string[] = [];
		const consuming = lanes.map((lane, i) =>
			client.subscriptions.consume(lane, ({ id }) => void handled[i]?.add(id), { over, signal: stop.signal, onBreak: (cause) => breaks.push(cause) }),
		);
		const publish = async (prefix: string): Promise<void> => {
			for (let i = 0; i < COUNT; i++) await client.publish({ type: "t", id: `${prefix}${i}` });
		};
		const publishing = publish("a");
		await until("all have begun", () => handled.every(({ size }) => size > COUNT / 4));
		await asked.stop("SIGKILL");
		await publishing;
		await publish("b");
		await until("all have all", () => handled.every(({ size }) => size === 2 * COUNT));
		stop.abort();
		await Promise.all(consuming);
		assert.ok(breaks.length > 0);
		for (const lane of lanes) assert.equal((await client.subscriptions.get(lane)).deadLetters, 0);
	});
}
