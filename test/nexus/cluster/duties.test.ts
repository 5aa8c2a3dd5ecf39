/** What several nodes are to each other besides their subscriptions: known, one authority, handed over in order, and without their state. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SLICES } from "../../../src/nexus/cluster/slices.ts";
import { eventually } from "../../support/processes.ts";
import { skipWithout, startNats } from "../log/servers.ts";
import { spawnNexus } from "../nexus-process.ts";
import { temporaryDir } from "../support.ts";
import { holderOf, namesOfSlices, settled, startNodes, statusOf } from "./nodes.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
const skip = skipWithout("nats-server");

interface Status {
	readonly node: string;
	readonly duties: Readonly<Record<string, string | null>>;
	readonly nodes: readonly { readonly id: string; readonly url: string; readonly slices: readonly number[] }[];
}

async function shownBy(url: string): Promise<Status> {
	return (await (await fetch(`${url}/v1/status`)).json()) as Status;
}

test("each node knows the others, and who does what; an orderly stop hands the duties over at once", { skip, timeout: 120_000 }, async (t) => {
	const { address } = await startNats(t);
	const { nodes } = await startNodes(t, `log: { nats: { servers: ["${address}"] } }\n`, 3);
	await settled(nodes);
	const [first, second, third] = nodes;
	assert.ok(first !== undefined && second !== undefined && third !== undefined);
	await eventually("all of them tell the same", async () => {
		const statuses = await Promise.all(nodes.map(({ url }) => shownBy(url)));
		for (const status of statuses) assert.deepEqual(status.nodes.map(({ url }) => url).sort(), nodes.map(({ url }) => url).sort());
		const told = statuses.map(({ nodes }) => nodes.flatMap(({ slices }) => slices).sort((a, b) => a - b));
		return told.every((slices) => slices.join() === Array.from({ length: SLICES }, (_, slice) => slice).join());
	});
	const retention = new Set((await Promise.all(nodes.map(({ url }) => shownBy(url)))).map(({ duties }) => duties.retention));
	assert.deepEqual([...retention], [(await shownBy(first.url)).node]);

	await first.stop("SIGTERM");
	const left = [second, third];
	await settled(left);
	assert.equal((await shownBy(second.url)).nodes.length, 2);
	for (const name of namesOfSlices(4)) {
		const holder = await holderOf(left, name);
		const other = left[1 - holder]?.url ?? "";
		// Until it has asked again it knows of nobody, and says 503.
		await eventually("callers are sent on", async () => {
			const path = `/v1/subscriptions/${name}/fetch?x=1`;
			const sentOn = await fetch(`${other}${path}`, { method: "POST", body: "{}", redirect: "manual" });
			return sentOn.status === 307 && sentOn.headers.get("location") === `${left[holder]?.url}${path}`;
		});
	}
	assert.deepEqual(await Promise.all(left.map(({ url }) => statusOf(`${url}/v1/subscriptions?limit=1`))), [200, 200]);
	assert.equal(await statusOf(`${second.url}/v1/subscriptionsx`), 404);
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
			`listen: 127.0.0.1:0\ndata: ./data\nlog: { nats: { servers: ["${address}"] } }\nauthority: { dir: ../certs }\ncluster: { lease: 5s }\n`,
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
	await settled(nodes);
	await server.kill();
	const names = namesOfSlices(SLICES);
	await eventually("no node dispatches", async () => {
		const asked = nodes.flatMap(({ url }) => names.map((name) => statusOf(`${url}/v1/subscriptions/${name}`)));
		return (await Promise.all(asked)).every((status) => status === 503);
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
	await settled(nodes);
});
