/** `nexus subscriptions` and `nexus dead-letters` against a real Nexus and a real receiver that fails until it is told not to. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { NexusClient } from "nexus-mesh/client";
import { runDeadLettersDiscard, runDeadLettersList, runDeadLettersReplay, runDeadLettersShow } from "../../src/cli/dead-letters.ts";
import {
	runSubscriptionsChange,
	runSubscriptionsDelete,
	runSubscriptionsList,
	runSubscriptionsPut,
	runSubscriptionsSeek,
	runSubscriptionsShow,
} from "../../src/cli/subscriptions.ts";
import { systemClock } from "../../src/core/clock.ts";
import { eventJson, serveNexus, temporaryDir } from "../nexus/support.ts";
import { eventually } from "../support/processes.ts";
import { type CaptureIo, captureIo } from "./capture-io.ts";

async function ran(run: (io: CaptureIo) => Promise<number>, isTTY = true, code = 0): Promise<string> {
	const io = captureIo({ isTTY });
	assert.equal(await run(io), code, io.err());
	return io.out() + io.err();
}

interface Receiver {
	readonly url: string;
	readonly taken: string[];
	fails: boolean;
}

async function receiver(t: TestContext): Promise<Receiver> {
	const server = createServer((req, res) => {
		req.resume();
		req.on("end", () => {
			if (!state.fails) state.taken.push(String(req.headers["ce-id"] ?? ""));
			res.writeHead(state.fails ? 500 : 204).end(state.fails ? "not today" : "");
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.close();
		server.closeAllConnections();
	});
	const state: Receiver = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, taken: [], fails: true };
	return state;
}

test("a subscription is made, watched, paused; what it cannot deliver is seen, tried again and thrown away", async (t) => {
	const dir = temporaryDir(t);
	const { url } = await serveNexus(t, join(dir, "data"));
	const hook = await receiver(t);
	const flags = { url };
	const context = { clock: systemClock, signal: new AbortController().signal };
	const file = join(dir, "billing.json");
	const sink = { kind: "webhook", url: hook.url, mode: "binary" };
	writeFileSync(file, JSON.stringify({ filter: { type: "order.*" }, sink, delivery: { attempts: 1 }, from: "new" }));
	assert.match(await ran((io) => runSubscriptionsList(flags, io)), /^nobody has subscribed/);
	assert.match(await ran((io) => runSubscriptionsPut("billing", file, flags, io)), /^name +billing\nstate +running\nsink +webhook http:\/\/127/);

	const publish = (id: string) =>
		fetch(`${url}/v1/events`, {
			method: "POST",
			headers: { "content-type": "application/cloudevents+json" },
			body: eventJson({ id, type: "order.paid" }),
		});
	for (const id of ["a", "b", "c"]) assert.equal((await publish(id)).status, 200);
	await eventually("three are parked", async () => (await lettersOf()).total === 3);
	async function lettersOf(): Promise<{ total: number; deadLetters: { sequence: number }[] }> {
		return JSON.parse(await ran((io) => runDeadLettersList("billing", flags, io), false)) as { total: number; deadLetters: { sequence: number }[] };
	}
	const table = await ran((io) => runDeadLettersList("billing", { ...flags, limit: 2 }, io));
	assert.match(table, /^SEQUENCE +PARKED \(UTC\) +TRIES +TYPE +ID +WHY\n\d+ .* 1 +order\.paid +a +answered 500\n/);
	assert.match(table, /\n1 more\n$/);
	assert.match(await ran((io) => runSubscriptionsList(flags, io)), /^NAME +STATE +SINK .*\nbilling +running +webhook .* 3\n$/);

	const { deadLetters } = await lettersOf();
	const [first = 0, , last = 0] = deadLetters.map(({ sequence }) => sequence);
	assert.match(await ran((io) => runDeadLettersShow("billing", first, flags, io)), /"answer": "not today",.*"id": "a"/s);
	assert.match(await ran((io) => runDeadLettersShow("billing", 99, flags, io), true, 1), /99 is no dead letter of billing/);
	const again = await ran((io) => runDeadLettersReplay("billing", { ...flags, sequence: [first] }, io, context), true, 1);
	assert.match(again, /^0 delivered, 1 dead again\n$/);
	assert.match(await ran((io) => runSubscriptionsDelete("billing", flags, io), true, 1), /has dead letters: .* replay billing` .* --discard\n$/);
	hook.fails = false;
	await ran((io) => runDeadLettersDiscard("billing", { ...flags, sequence: [last] }, io));
	const replayed = await ran((io) => runDeadLettersReplay("billing", { ...flags, sequence: [] }, io, context));
	assert.match(replayed, /^2 delivered, 0 dead again\n\rreplaying \[#{24}\] 100 % {2}2 of 2.*\r\x1b\[K$/);
	assert.deepEqual([hook.taken.length, (await lettersOf()).total], [2, 0]);
	assert.match(await ran((io) => runDeadLettersList("billing", flags, io)), /has no dead letters/);

	assert.match(await ran((io) => runSubscriptionsChange("pause", "billing", flags, io)), /billing is paused/);
	assert.match(await ran((io) => runSubscriptionsShow("billing", flags, io)), /state +paused: by /);
	assert.match(await ran((io) => runSubscriptionsChange("resume", "billing", flags, io)), /billing is running/);
	assert.match(await ran((io) => runSubscriptionsSeek("billing", "0", flags, io)), /^name +billing\nstate +running/);
	await eventually("all three have come once more", async () => hook.taken.length === 5);
	assert.match(await ran((io) => runSubscriptionsSeek("billing", "yesterday", flags, io), true, 1), /not valid|is not/);
	assert.match(await ran((io) => runSubscriptionsDelete("billing", flags, io)), /is gone/);
	assert.match(await ran((io) => runSubscriptionsShow("billing", flags, io), true, 1), /no subscription of this name/);
});

test("a replay that is stopped leaves what it has not tried as it was", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const hook = await receiver(t);
	const client = new NexusClient({ url, source: "/s" });
	await client.subscriptions.put("billing", {
		sink: { kind: "webhook", url: hook.url, mode: "binary" },
		filter: { type: "t" },
		delivery: { attempts: 1 },
	});
	await client.publish(Array.from({ length: 150 }, () => ({ type: "t" })));
	await eventually("all are parked", async () => (await client.subscriptions.get("billing")).deadLetters === 150);
	hook.fails = false;
	const context = { clock: systemClock, signal: AbortSignal.abort() };
	const said = await ran((io) => runDeadLettersReplay("billing", { url, sequence: [] }, io, context));
	assert.match(said, /100 delivered, 0 dead again\n.*ended; what has not been tried is a dead letter as before/s);
	assert.equal((await client.subscriptions.get("billing")).deadLetters, 50);
	const some = { url, sequence: [], count: 10, type: "t" };
	assert.match(await ran((io) => runDeadLettersReplay("billing", some, io, { ...context, signal: new AbortController().signal })), /^10 delivered/);
	assert.equal((await client.subscriptions.get("billing")).deadLetters, 40);
});

test("what is wrong is said: a document with faults, a file that is none, nothing to discard", async (t) => {
	const dir = temporaryDir(t);
	const { url } = await serveNexus(t, join(dir, "data"));
	const file = join(dir, "bad.json");
	writeFileSync(file, JSON.stringify({ sink: { kind: "carrier pigeon" } }));
	assert.match(await ran((io) => runSubscriptionsPut("x", file, { url }, io), true, 1), /subscription is not valid.*sink/s);
	writeFileSync(file, "{");
	assert.match(await ran((io) => runSubscriptionsPut("x", file, { url }, io), true, 1), /bad\.json cannot be used/);
	assert.match(await ran((io) => runDeadLettersDiscard("x", { url, sequence: [] }, io), true, 1), /say which: --sequence/);
	assert.match(await ran((io) => runSubscriptionsList({ url: "http://127.0.0.1:1" }, io), true, 1), /does not answer/);
});
