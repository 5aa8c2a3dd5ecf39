/** What several nodes are to each other besides their subscriptions: known, one authority, handed over in order, and without their state. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually } from "../../support/processes.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { spawnNexus } from "../nexus-process.ts";
import { temporaryDir } from "../support.ts";
import { dispatcherOf, startNodes } from "./two-nodes.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
const skip = skipWithout("nats-server");

interface Status {
	readonly node: string;
	readonly duties: Readonly<Record<string, string | null>>;
	readonly nodes: readonly { readonly id: string; readonly url: string }[];
	readonly subscriptions: { readonly dispatchedBy?: string };
}

async function statusOf(url: string): Promise<Status> {
	return (await (await fetch(`${url}/v1/status`)).json()) as Status;
}

test("each node knows the others, and who does what; an orderly stop hands the duties over at once", { skip, timeout: 120_000 }, async (t) => {
	const { address } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 3);
	const statuses = await Promise.all(nodes.map(({ url }) => statusOf(url)));
	for (const status of statuses) assert.deepEqual(status.nodes.map(({ url }) => url).sort(), nodes.map(({ url }) => url).sort());
	const first = await dispatcherOf(nodes);
	const owner = statuses[first]?.node;
	for (const [i, status] of statuses.entries()) {
		assert.equal(status.duties.subscriptions, owner);
		if (i !== first) assert.equal(status.subscriptions.dispatchedBy, owner);
	}
	await nodes[first]?.stop("SIGTERM");
	const left = nodes.filter((_, i) => i !== first);
	const next = await dispatcherOf(left);
	const after = await statusOf(left[next]?.url ?? "");
	assert.equal(after.nodes.length, 2);
	const other = left[1 - next]?.url ?? "";
	// Until it has asked again it knows of nobody, and says 503.
	await eventually("callers are sent on", async () => {
		const sentOn = await fetch(`${other}/v1/subscriptions?limit=1`, { redirect: "manual" });
		return sentOn.status === 307 && sentOn.headers.get("location") === `${left[next]?.url}/v1/subscriptions?limit=1`;
	});
	assert.equal((await fetch(`${other}/v1/subscriptionsx`, { redirect: "manual" })).status, 404);
});

test("one node is the authority; a second one is refused in words, and takes over once the first is gone", { skip, timeout: 120_000 }, async (t) => {
	const { address } = await startNats(t);
	const base = temporaryDir(t);
	const certs = join(base, "certs");
	assert.equal(spawnSync(process.execPath, [MAIN, "ca", "init", "--dir", certs]).status, 0);
	const fileOf = (name: string): string => {
		const file = join(base, name, "nexus.yaml");
		mkdirSync(join(base, name));
		writeFileSync(
			file,
			`listen: 127.0.0.1:0\ndata: ./data\nlog: { nats: { servers: ["${address}"] } }\nauthority: { dir: ../certs }\ncluster: { lease: 2s }\n`,
		);
		return file;
	};
	const first = await spawnNexus(["--config", fileOf("a")]);
	t.after(() => first.stop("SIGKILL"));
	const second = fileOf("b");
	await assert.rejects(spawnNexus(["--config", second]), /ended with 1: nexus serve: another node is the authority of the mesh/);
	await first.stop("SIGKILL");
	const next = await spawnNexus(["--config", second]);
	t.after(() => next.stop("SIGKILL"));
	assert.match(next.url, /^https:/);
});

test("while log and state are away nothing is acknowledged and nobody dispatches; both go on when they are back", {
	skip,
	timeout: 120_000,
}, async (t) => {
	const { address, server } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`);
	await dispatcherOf(nodes);
	await server.kill();
	await eventually("no node dispatches", async () => {
		const statuses = await Promise.all(nodes.map(({ url }) => fetch(`${url}/v1/subscriptions`, { redirect: "manual" }).then(({ status }) => status)));
		return statuses.every((status) => status === 503);
	});
	const event = JSON.stringify({ specversion: "1.0", id: "1", source: "/s", type: "t" });
	const send = async (url: string): Promise<number> => {
		const answer = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": "application/cloudevents+json" }, body: event });
		await answer.arrayBuffer();
		return answer.status;
	};
	assert.equal(await send(nodes[0]?.url ?? ""), 503);
	await server.start();
	await eventually("events are taken", async () => (await send(nodes[0]?.url ?? "")) === 200 && (await send(nodes[1]?.url ?? "")) === 200);
	await dispatcherOf(nodes);
});
