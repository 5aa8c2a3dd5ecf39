/** The log on Kafka, the state in SQLite, under faults of the broker, of Nexus, of its disk and of consumers. */
import { test } from "node:test";
import { skipWithoutKafka, startKafka } from "../log/servers.ts";
import { diskOf, RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";
import { SmallDisk } from "./small-disk.ts";

const SECONDS = 30;

test("kafka: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, while the broker and Nexus are killed and stopped", {
	skip: skipWithoutKafka,
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const brokerDisk = diskOf(t, SECONDS);
	const { server, address } = await SmallDisk.holding(brokerDisk, () => startKafka(t));
	await runNemesis(t, {
		engines: `log: { kafka: { brokers: ["${address}"] } }\n`,
		broker: server,
		brokerDisk,
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"disk-full",
			"clock-jumped",
			"broker-killed",
			"broker-full",
			"broker-stopped",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		// Kafka leaves syncing to the system: a power cut may take what a kill does not.
		durability: "os",
		seconds: SECONDS,
	});
});
