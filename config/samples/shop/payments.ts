/** One instance of payments. SLOW_MS makes it slow; OUTAGE_EVERY_S and OUTAGE_FOR_S make it fail now and then, and say so when asked for its health. */
import { setTimeout as wait } from "node:timers/promises";
import { serve } from "./service.ts";

const slowMs = Number(process.env.SLOW_MS ?? 2);
const everyS = Number(process.env.OUTAGE_EVERY_S ?? 0);
const forS = Number(process.env.OUTAGE_FOR_S ?? 0);

serve(3003, async (message) => {
	// The outage stands at the end of each period, so that the first seconds of a start are calm.
	const isDown = everyS > 0 && process.uptime() % everyS > everyS - forS;
	if (isDown) return { status: 503, body: { error: "the bank does not answer" } };
	if (message.url === "/healthz") return { status: 200, body: "ok" };
	await wait(slowMs);
	return { status: 200, body: { paid: true, by: process.env.NEXUS_INSTANCE ?? "payments" } };
});
