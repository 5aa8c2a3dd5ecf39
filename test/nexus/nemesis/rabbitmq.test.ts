/** The log on a stream and quorum queues of RabbitMQ, the state in SQLite, under faults of the server, of Nexus, of its disk and of consumers. */
import { test } from "node:test";
import { skipWithoutRabbitmq, startRabbitmq } from "../log/servers.ts";
import { Relay } from "./relay.ts";
import { RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";

const SECONDS = 30;

test("rabbitmq: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, while the server and Nexus are killed and stopped", {
	skip: skipWithoutRabbitmq,
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const { server, url } = await startRabbitmq(t);
	const link = await Relay.start(t, Number(new URL(url).port));
	await runNemesis(t, {
		engines: `log: { rabbitmq: { url: "${url.replace(/:\d+$/, `:${link.port}`)}" } }\n`,
		broker: server,
		brokerLink: link,
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"disk-full",
			"clock-jumped",
			"broker-killed",
			"broker-stopped",
			"broker-cut",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		durability: "disk",
		seconds: SECONDS,
	});
});
