/** API tokens at several nodes: good at each a moment after they were made, gone at each a moment after they were taken back, streams included. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { eventually } from "../../support/processes.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { call } from "../subscriptions/support.ts";
import { temporaryDir } from "../support.ts";
import { startNodes } from "./nodes.ts";

const skip = skipWithout("nats-server");

interface Made {
	readonly id: string;
	readonly token: string;
}

/** Nobody local is anonymous, and yet a wrong token is refused: so 401 says that it does not hold. */
async function statusWith({ url }: NexusProcess, token: string): Promise<number> {
	const answer = await fetch(`${url}/v1/events?limit=1`, { headers: { authorization: `Bearer ${token}` } });
	await answer.arrayBuffer();
	return answer.status;
}

async function took(what: string, holds: () => Promise<boolean>): Promise<number> {
	const atMs = performance.now();
	await eventually(what, holds);
	return Math.round(performance.now() - atMs);
}

async function assertTokensEverywhere(t: TestContext, [a, b]: readonly NexusProcess[]): Promise<void> {
	assert.ok(a !== undefined && b !== undefined);
	const made = (await call<Made>(`${a.url}/v1/tokens`, "POST", { role: "read", name: "x" })).json;
	const goodMs = await took("it is good at the other node", async () => (await statusWith(b, made.token)) === 200);
	const rotated = (await call<Made>(`${b.url}/v1/tokens/${made.id}/rotate`, "POST", { grace: "1h" })).json;
	await took("its new secret, too", async () => (await statusWith(a, rotated.token)) === 200);
	assert.equal(await statusWith(a, made.token), 200);

	const stream = await fetch(`${b.url}/v1/events/stream`, { headers: { authorization: `Bearer ${rotated.token}` } });
	const ended = stream.text();
	assert.equal((await call(`${a.url}/v1/tokens/${made.id}`, "DELETE")).status, 204);
	assert.equal(await statusWith(a, rotated.token), 401);
	const goneMs = await took("it is gone at the other node", async () => (await statusWith(b, rotated.token)) === 401);
	await ended;
	t.diagnostic(`good at the other node after ${goodMs} ms, gone after ${goneMs} ms`);

	const other = (await call<Made>(`${a.url}/v1/tokens`, "POST", { role: "read", name: "y" })).json;
	await a.stop("SIGKILL");
	await took("a token outlives the node that made it", async () => (await statusWith(b, other.token)) === 200);
}

test("tokens hold at both nodes on NATS, and end at both", { skip, timeout: 120_000 }, async (t) => {
	const { address } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`);
	await assertTokensEverywhere(t, nodes);
});

test("tokens hold at both nodes with a state in PostgreSQL, and end at both", { skip: skip || skipWithoutPostgres, timeout: 120_000 }, async (t) => {
	const postgres = await PostgresServer.start();
	t.after(() => postgres.stop());
	const { address } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\nstate: { postgres: { url: "${postgres.url}" } }\n`);
	await assertTokensEverywhere(t, nodes);
});

test("tokens of a node that was alone are good at all nodes once it shares a state", { skip, timeout: 120_000 }, async (t) => {
	const { address } = await startNats(t);
	const base = temporaryDir(t);
	const running = new Set<NexusProcess>();
	t.after(() => Promise.all([...running].map((node) => node.stop("SIGKILL"))));
	const start = async (name: string, engines: string): Promise<NexusProcess> => {
		const file = join(base, `${name}.yaml`);
		writeFileSync(file, `listen: 127.0.0.1:0\ndata: ./${name}\n${engines}`);
		const node = await spawnNexus(["--config", file]);
		running.add(node);
		return node;
	};
	const alone = await start("a", "");
	const made = (await call<Made>(`${alone.url}/v1/tokens`, "POST", { role: "read", name: "x" })).json;
	await alone.stop("SIGTERM");
	const shared = `log: { nats: { servers: ["${address}"] } }\n`;
	const [a, b] = [await start("a", shared), await start("b", shared)];
	assert.deepEqual([await statusWith(a, made.token), await statusWith(b, made.token)], [200, 200]);
});
