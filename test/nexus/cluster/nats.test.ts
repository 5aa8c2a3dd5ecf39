/** Two and three nodes of Nexus on one NATS, which keeps both the log and the state. */
import { test } from "node:test";
import { skipWithout, startNats } from "../log/servers.ts";
import { assertNothingLost, assertPauseIsHarmless, assertSameOnBoth, startNodes } from "./nodes.ts";

const skip = skipWithout("nats-server");

test("two nodes on NATS answer the same, share the subscriptions, and one takes over from the other that is killed under load", {
	skip,
	timeout: 180_000,
}, async (t) => {
	const { address } = await startNats(t);
	const nodes = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`);
	await assertSameOnBoth(nodes);
	await assertNothingLost(t, nodes);
});

test("two of three nodes on NATS take over from the third, which is killed under load, and share what it had", {
	skip,
	timeout: 180_000,
}, async (t) => {
	const { address } = await startNats(t);
	await assertNothingLost(t, await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 3));
});

test("a node on NATS that stands still for longer than its lease delivers nothing more when it wakes", { skip, timeout: 180_000 }, async (t) => {
	const { address } = await startNats(t);
	await assertPauseIsHarmless(t, await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`));
});
