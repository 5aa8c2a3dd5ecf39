/** Log and state on JetStream, under faults of the server, of Nexus and of consumers. */
import { test } from "node:test";
import { skipWithout, startNats } from "../log/servers.ts";
import { Relay } from "./relay.ts";
import { diskOf, RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";
import { SmallDisk } from "./small-disk.ts";

const SECONDS = 30;

test("nats: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, while the server and Nexus are killed and stopped", {
	skip: skipWithout("nats-server"),
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	const brokerDisk = diskOf(t, SECONDS);
	const { server, address } = await SmallDisk.holding(brokerDisk, () => startNats(t));
	const link = await Relay.start(t, Number(address.split(":").at(-1)));
	await runNemesis(t, {
		engines: `log: { nats: { servers: ["127.0.0.1:${link.port}"] } }\ncluster: { lease: 2s }\n`,
		broker: server,
		brokerDisk,
		brokerLink: link,
		// Its data directory holds nothing but its identity: a full disk there is none.
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"clock-jumped",
			"broker-killed",
			"broker-full",
			"broker-stopped",
			"broker-cut",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		// By default JetStream syncs every two minutes: a power cut may take what a kill does not.
		durability: "os",
		seconds: SECONDS,
	});
});
