/** What is wrong with log, state and disk is told where probes and people look, and nothing is told where all is well. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNexusConfig } from "../../../src/nexus/config/config.ts";
import { serveNexus, temporaryDir } from "../support.ts";

test("trouble of the state and damage of the log stand in /readyz and /v1/status; events are taken all the same", async (t) => {
	const dir = temporaryDir(t);
	const loaded = loadNexusConfig("log: memory", "n.yaml", {});
	assert.ok(loaded.ok);
	const { log, state } = loaded.config;
	const { nexus, url } = await serveNexus(t, dir, { log, state });
	const get = async (path: string): Promise<{ status: number; json: Record<string, unknown> }> => {
		const answer = await fetch(`${url}${path}`);
		return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
	};
	assert.deepEqual(await get("/readyz"), { status: 200, json: { status: "ready" } });
	assert.equal((await get("/v1/status")).json.trouble, undefined);

	const { engines } = nexus;
	const stats = engines.state.stats();
	engines.state.stats = () => ({ ...stats, isFailing: true });
	const logStats = engines.log.stats.bind(engines.log);
	engines.log.stats = () => ({ ...logStats(), damagedBlocks: 2 });
	const { status, json } = await get("/readyz");
	assert.equal(status, 200, "events can be sent");
	assert.deepEqual(json.trouble, {
		damage: "2 blocks of the log could not be read",
		state: "cannot be written: subscriptions and policies cannot be changed, and what is delivered may come again",
	});
	assert.deepEqual((await get("/v1/status")).json.trouble, json.trouble);
	assert.match(await (await fetch(`${url}/metrics`)).text(), /^nexus_state_failing 1$/m);

	engines.log.stats = () => ({ ...logStats(), isFailing: true });
	const failing = await get("/readyz");
	assert.deepEqual([failing.status, failing.json.reason], [503, "log_failed"]);
});

test("a log that has no backup of ours says whose it is", async (t) => {
	const loaded = loadNexusConfig("log: memory", "n.yaml", {});
	assert.ok(loaded.ok);
	const { url } = await serveNexus(t, temporaryDir(t), { log: loaded.config.log, state: loaded.config.state });
	const answer = await fetch(`${url}/v1/log/backups`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
	const { reason, detail } = (await answer.json()) as { reason: string; detail: string };
	assert.deepEqual([answer.status, reason, detail], [501, "backup_unsupported", "The log memory has no backup of its own: copy it to another log."]);
	assert.equal((await fetch(`${url}/v1/log/backups/none`)).status, 404);
});
