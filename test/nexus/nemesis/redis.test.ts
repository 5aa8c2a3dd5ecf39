/** The log on Redis, the state in SQLite, under faults of the server, of Nexus, of its disk and of consumers. */
import { test } from "node:test";
import { skipWithout, startRedis } from "../log/servers.ts";
import { Relay } from "./relay.ts";
import { diskOf, RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";
import { SmallDisk } from "./small-disk.ts";

const SECONDS = 30;

test("redis: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, while the server and Nexus are killed and stopped", {
	skip: skipWithout("redis-server"),
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const brokerDisk = diskOf(t, SECONDS);
	const { server, url } = await SmallDisk.holding(brokerDisk, () =>
		// What keeps what it acknowledges: synced before the answer.
		startRedis(t, ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]),
	);
	const link = await Relay.start(t, Number(new URL(url).port));
	await runNemesis(t, {
		engines: `log: { redis: { url: "${url.replace(/:\d+$/, `:${link.port}`)}" } }\n`,
		broker: server,
		brokerDisk,
		brokerLink: link,
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"disk-full",
			"clock-jumped",
			"broker-killed",
			"broker-full",
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
