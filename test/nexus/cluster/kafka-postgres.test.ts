/** Two nodes of Nexus on a log on Kafka and a state in PostgreSQL. */
import { test } from "node:test";
import { skipWithoutKafka, startKafka } from "../log/servers.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { assertNothingLost, assertSameOnBoth, startNodes } from "./nodes.ts";

const skip = skipWithoutKafka || skipWithoutPostgres;

test("two nodes on Kafka and PostgreSQL answer the same, share the subscriptions, and one takes over from the other that is killed under load", {
	skip,
	timeout: 300_000,
}, async (t) => {
	const postgres = await PostgresServer.start();
	t.after(() => postgres.stop());
	const { address } = await startKafka(t);
	const nodes = await startNodes(t, `log: { kafka: { brokers: ["${address}"] } }\nstate: { postgres: { url: "${postgres.url}" } }\n`);
	await assertSameOnBoth(nodes);
	await assertNothingLost(t, nodes);
});
