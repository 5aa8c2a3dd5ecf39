/** Two nodes on a log on Kafka and a state in PostgreSQL, one after the other killed and stopped for longer than a lease, and both servers killed. */
import { test } from "node:test";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import { skipWithoutKafka, startKafka } from "../log/servers.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";

const SECONDS = 30;

test("two nodes on kafka and postgresql: nothing acknowledged is lost, nothing comes that nobody sent, and keys stay in order, whichever of them is killed or stands still", {
	skip: skipWithoutKafka || skipWithoutPostgres,
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const postgres = await PostgresServer.start();
	t.after(() => postgres.stop());
	const { server, address } = await startKafka(t);
	await runNemesis(t, {
		engines: `log: { kafka: { brokers: ["${address}"] } }\nstate: { postgres: { url: "${postgres.url}" } }\ncluster: { lease: 2s }\n`,
		nodes: 2,
		broker: server,
		state: { kill: () => postgres.crash(), start: () => postgres.resume() },
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"clock-jumped",
			"nexus-killed",
			"nexus-stopped",
			"broker-killed",
			"state-killed",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		isTakenOnce: BACKENDS.kafka.features.dedupeAcrossNodes.has,
		durability: "os",
		seconds: SECONDS,
	});
});
