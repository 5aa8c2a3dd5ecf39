/** A producer's WebSocket through the end of Nexus by kill -9, again and again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NexusClient, NexusError } from "../../../src/client/nexus-client.ts";
import { freePorts } from "../../support/processes.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { temporaryDir } from "../support.ts";

const CRASHES = 4;
const PER_LIFE = 1_500;

test("a Nexus that is killed while a producer streams has all that it acknowledged, once, in the order of sending", {
	timeout: 120_000,
}, async (t) => {
	const dir = temporaryDir(t);
	const [port = 0] = await freePorts(1);
	const start = (): Promise<NexusProcess> => spawnNexus(["--listen", `127.0.0.1:${port}`, "--data", dir]);
	let nexus = await start();
	t.after(() => nexus.stop("SIGKILL"));
	const client = new NexusClient({ url: nexus.url, source: "/crash", rng: () => 0.2, patienceMs: 60_000 });
	const socket = await client.openSocket({ unackedMax: 100_000, patienceMs: 60_000 });
	let sent = 0;
	const acknowledged: Promise<unknown>[] = [];
	// As a careful producer does: told that it was not kept, it sends it again.
	const publish = async (events: { type: string; id: string }[]): Promise<void> => {
		for (;;) {
			try {
				await socket.send(events);
				return;
			} catch (thrown) {
				if (!(thrown instanceof NexusError) || !thrown.isTransient) throw thrown;
			}
		}
	};
	for (let life = 0; life < CRASHES; life++) {
		const before = acknowledged.length;
		for (let i = 0; i < PER_LIFE; i++) {
			const events = Array.from({ length: 1 + (i % 3) }, () => ({ type: "t", id: String(sent++) }));
			acknowledged.push(publish(events));
		}
		// Some are acknowledged, some are in the middle of it, some not even sent.
		await acknowledged[before + 100 * life];
		await nexus.stop("SIGKILL");
		nexus = await start();
	}
	await Promise.all(acknowledged);
	await socket.close();
	const ids: number[] = [];
	for await (const { event } of client.query({ source: "/crash" })) ids.push(Number(event.id));
	assert.equal(ids.length, sent);
	assert.deepEqual(
		ids,
		Array.from({ length: sent }, (_, i) => i),
	);
});
