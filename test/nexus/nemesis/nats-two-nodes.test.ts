/** Two nodes on one JetStream, one after the other killed and stopped for longer than a lease, and the server with them. */
import { test } from "node:test";
import { skipWithout, startNats } from "../log/servers.ts";
import { RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";

const SECONDS = 30;

test("two nodes on nats: nothing acknowledged is lost or kept twice, and keys stay in order, whichever of them is killed or stands still", {
	skip: skipWithout("nats-server"),
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const { server, address } = await startNats(t);
	await runNemesis(t, {
		engines: `log: { nats: { servers: ["${address}"] } }\ncluster: { lease: 2s }\n`,
		nodes: 2,
		broker: server,
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"clock-jumped",
			"nexus-killed",
			"nexus-stopped",
			"broker-killed",
			"broker-stopped",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		durability: "os",
		seconds: SECONDS,
	});
});
