/** The embedded log and its state under every fault that one machine has. (The log in memory promises to survive none of them.) */
import { test } from "node:test";
import { RUN_OVERHEAD_MS, runNemesis, secondsOf } from "./run.ts";

const SECONDS = 60;

test("embedded: nothing acknowledged is lost, nothing comes that nobody sent, keys stay in order, whatever is killed, stopped, torn or full", {
	timeout: secondsOf(SECONDS) * 1000 + RUN_OVERHEAD_MS,
}, async (t) => {
	await runNemesis(t, {
		engines: "",
		faults: [
			"nexus-killed",
			"nexus-ended",
			"nexus-stopped",
			"tail-torn",
			"disk-full",
			"clock-jumped",
			"clients-cut",
			"consumer-killed",
			"subscription-paused",
		],
		durability: "disk",
		seconds: SECONDS,
	});
});
