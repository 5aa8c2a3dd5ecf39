/** The log on a stream of RabbitMQ, the state in SQLite, under faults of the server, of Nexus, of its disk and of consumers. */
import { test } from "node:test";
import { skipWithoutRabbitmq, startRabbitmq } from "../log/servers.ts";
import { RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";

const SECONDS = 30;

test("rabbitmq: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, while the server and Nexus are killed and stopped", {
	skip: skipWithoutRabbitmq,
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const { server, url } = await startRabbitmq(t);
	await runNemesis(t, {
		engines: `log: { rabbitmq: { url: "${url}" } }\n`,
		broker: server,
		faults: ["nexus-killed", "nexus-stopped", "disk-full", "broker-killed", "broker-stopped", "consumer-killed"],
		// A stream leaves syncing to the system: a power cut may take what a kill does not.
		durability: "os",
		seconds: SECONDS,
	});
});
