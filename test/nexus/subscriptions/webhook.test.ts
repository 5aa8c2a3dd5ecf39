/** Webhooks from the publisher to the receiver, over real sockets and real processes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { spawnNexus } from "../nexus-process.ts";
import { numbered, temporaryDir } from "../support.ts";
import { call, publish, receiver, until } from "./support.ts";

test("an event reaches a webhook; after kill -9 a new process goes on where the old one stood, and loses nothing", async (t) => {
	const dir = temporaryDir(t);
	let isUp = true;
	const hook = await receiver(t, () => ({ status: isUp ? 204 : 503 }));
	const args = ["--listen", "127.0.0.1:0", "--data", dir];
	const first = await spawnNexus(args);
	t.after(() => first.child.kill("SIGKILL"));
	const made = await call(`${first.url}/v1/subscriptions/billing`, "PUT", {
		filter: { type: "order.*" },
		sink: { kind: "webhook", url: hook.url },
		delivery: { backoff: ["50ms"], attempts: 100 },
	});
	assert.equal(made.status, 201, JSON.stringify(made.json));
	await publish(first.url, { id: "a", type: "order.created" }, { id: "other", type: "invoice.paid" });
	await until("the webhook has it", () => hook.ids().includes("a"));
	await until("it is settled", async () => (await call(`${first.url}/v1/subscriptions/billing`, "GET")).json.lag.open === 0);

	isUp = false;
	const before = hook.received.length;
	await publish(first.url, ...numbered("b", 20, { type: "order.created" }));
	await until("tries have failed", () => hook.received.length > before + 5);
	await first.stop("SIGKILL");

	const second = await spawnNexus(args);
	t.after(() => second.child.kill("SIGKILL"));
	const mark = hook.received.length;
	isUp = true;
	await until("all have arrived", () => new Set(hook.ids().slice(mark)).size >= 20);
	const again = hook.ids().slice(mark);
	assert.deepEqual(
		[...new Set(again)].sort(),
		numbered("b", 20)
			.map(({ id }) => id)
			.sort(),
	);
	assert.ok(!again.includes("a"), "what was settled does not come again");
	assert.deepEqual(await second.stop("SIGTERM"), { code: 0, signal: null });
});
