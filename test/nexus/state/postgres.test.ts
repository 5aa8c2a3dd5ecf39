/** State in a real PostgreSQL, with two nodes on it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { Client } from "pg";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { put, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { eventually } from "../../support/processes.ts";
import { changesOf, committed, conformance, get } from "./conformance.ts";
import { pausable } from "./pausable.ts";
import { PostgresServer, skipWithoutPostgres } from "./postgres-server.ts";

let server: PostgresServer;
let schemas = 0;
before(async () => {
	if (skipWithoutPostgres === false) server = await PostgresServer.start();
});
after(() => server?.stop());

conformance({
	name: "postgres",
	durability: "disk",
	isShared: true,
	isKept: true,
	skip: skipWithoutPostgres,
	async bench(t) {
		const schema = newSchema();
		return {
			open: () => open(t, schema),
			async restart() {
				await server.crash();
				await server.resume();
			},
		};
	},
});

const skip = skipWithoutPostgres;

test("a server that hangs makes no caller hang: the write is unknown, reads are unavailable, and it goes on by itself", { skip }, async (t) => {
	const schema = newSchema();
	const { host } = new URL(server.url);
	const proxy = await pausable(t, host);
	const store = await open(t, schema, { answerTimeoutMs: 300, url: server.url.replace(host, proxy.address) });
	const first = await committed(store, [put("keys", "k", 1)]);
	proxy.pause();
	// On the connection that stands: the write may have arrived. The read needs a new one.
	const written = await store.commit([put("keys", "k", 2, first)]);
	const read = await store.get("keys", "k");
	proxy.resume();
	assert.equal(!written.ok && written.failure, "unknown");
	assert.equal(!read.ok && read.failure, "unavailable");
	assert.equal(store.stats().isFailing, true);
	// Whoever names what it expects tries again, and sees which it was.
	await eventually("the write is known", async () => {
		const outcome = await store.commit([put("keys", "k", 2, first)]);
		return outcome.ok || outcome.failure === "conflict";
	});
	assert.equal((await get(store, "keys", "k"))?.value, 2);
	assert.equal((await changesOf(store, "keys", 0)).length, 2, "written once");
});

test("a server that is not there, a name that is no schema and a newer schema are told, without the password", { skip }, async (t) => {
	const wrong = async (options: object): Promise<string> => {
		const opened = await openState({ engine: "postgres", url: server.url, clock: systemClock, rng: seededRng(1), ...options });
		return opened.ok ? "it has opened" : opened.detail;
	};
	const refused = await wrong({ url: "postgres://nexus:hunter2@127.0.0.1:1/state" });
	assert.match(refused, /^PostgreSQL: no connection: .*ECONNREFUSED/);
	assert.doesNotMatch(refused, /hunter2/);
	assert.match(await wrong({ url: server.url.replace(/postgres$/, "nowhere") }), /database "nowhere" does not exist/);
	assert.match(await wrong({ schema: 'a"; DROP TABLE x' }), /is no name of a schema/);
	const schema = newSchema();
	await (await open(t, schema)).close();
	await sql(`UPDATE ${schema}.version SET version = 99`);
	assert.match(await wrong({ schema }), /has version 99, written by a newer Nexus/);
});

test("nodes that start at the same moment make the tables once", { skip }, async (t) => {
	const schema = newSchema();
	const stores = await Promise.all(Array.from({ length: 6 }, () => open(t, schema)));
	const revisions = await Promise.all(stores.map((store, i) => committed(store, [put("nodes", `n${i}`, i, 0)])));
	assert.deepEqual(revisions.sort(), [1, 2, 3, 4, 5, 6]);
});

test("a change by another node is heard of at once, not when it is looked for", { skip }, async (t) => {
	const schema = newSchema();
	const [a, b] = [await open(t, schema), await open(t, schema)];
	const heard = new Promise<void>((resolve) => b.onChange(resolve));
	// The connection that listens tells too when it is ready; only a change can tell after that.
	await heard;
	const told = new Promise<void>((resolve) => b.onChange(resolve));
	await committed(a, [put("keys", "k", 1)]);
	await told;
	assert.equal((await get(b, "keys", "k"))?.value, 1);
});

test("an acknowledgement names what the server promises; one that would not wait for its disk does here", { skip }, async (t) => {
	const schema = newSchema();
	const store = await open(t, schema);
	const durability = async (): Promise<unknown> => {
		const outcome = await store.commit([put("keys", "k", 1)]);
		return outcome.ok ? outcome.durability : outcome;
	};
	const change = async (setting: string, expected: string): Promise<void> => {
		await sql(`ALTER SYSTEM ${setting}`);
		await sql("SELECT pg_reload_conf()");
		// The server's processes read it when they get to it.
		await eventually(`${setting} is in force`, async () => (await durability()) === expected);
	};
	assert.equal(await durability(), "disk");
	await change("SET fsync = off", "os");
	await change("RESET fsync", "disk");
	await sql("ALTER DATABASE postgres SET synchronous_commit = off");
	assert.equal((await open(t, schema)).capabilities.durability, "disk");
	await sql("ALTER DATABASE postgres RESET synchronous_commit");
});

test("a server that only reads refuses writes as unavailable", { skip }, async (t) => {
	const schema = newSchema();
	const writer = await open(t, schema);
	const revision = await committed(writer, [put("keys", "k", 1)]);
	const url = `${server.url}?options=-c%20default_transaction_read_only%3Don`;
	const reader = await openState({ engine: "postgres", url, schema, clock: systemClock, rng: seededRng(1) });
	assert.ok(reader.ok);
	t.after(() => reader.store.close());
	const outcome = await reader.store.commit([put("keys", "k", 2)]);
	assert.ok(!outcome.ok && outcome.failure === "unavailable", JSON.stringify(outcome));
	assert.match(outcome.detail, /read-only transaction/);
	assert.equal((await get(writer, "keys", "k"))?.revision, revision);
});

test("a full disk of the server refuses writes as full, and takes them again once there is space", {
	skip: skip !== false ? skip : skipWithoutMounts(),
}, async (t) => {
	const folder = mkdtempSync(join(tmpdir(), "nexus-tablespace-"));
	assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]).status, 0);
	const { uid, gid } = statSync(server.folder);
	mkdirSync(join(folder, "data"));
	for (const path of [folder, join(folder, "data")]) chownSync(path, uid, gid);
	writeFileSync(join(folder, "ballast"), Buffer.alloc(1_000_000));
	const schema = newSchema();
	await sql(`CREATE TABLESPACE small LOCATION '${folder}/data'`);
	await sql("ALTER DATABASE postgres SET default_tablespace = small");
	const store = await open(t, schema);
	t.after(async () => {
		await sql("ALTER DATABASE postgres RESET default_tablespace");
		await sql(`DROP SCHEMA ${schema} CASCADE`);
		await sql("DROP TABLESPACE small");
		spawnSync("umount", ["-l", folder]);
		rmdirSync(folder);
	});
	// Random, because PostgreSQL compresses.
	const random = seededRng(3);
	const blob = (): string => Array.from({ length: 50_000 }, () => String.fromCharCode(33 + Math.floor(random() * 90))).join("");
	let fit = 0;
	for (; ; fit++) {
		const outcome = await store.commit([put("_blobs", `b${fit}`, blob())]);
		if (outcome.ok) continue;
		assert.equal(outcome.failure, "full", JSON.stringify(outcome));
		break;
	}
	assert.ok(fit > 3);
	assert.ok(await get(store, "_blobs", "b0"));
	rmSync(join(folder, "ballast"));
	assert.equal(await committed(store, [put("_blobs", "after", blob())]), fit + 1);
});

function skipWithoutMounts(): string | false {
	return process.platform === "linux" && process.getuid?.() === 0 ? false : "a small file system can only be mounted by root on Linux";
}

async function sql(text: string): Promise<void> {
	const client = new Client({ connectionString: server.url });
	await client.connect();
	await client.query(text).finally(() => client.end());
}

function newSchema(): string {
	return `s${++schemas}`;
}

async function open(t: TestContext, schema: string, options: { answerTimeoutMs?: number; url?: string } = {}): Promise<StateStore> {
	const opened = await openState({ engine: "postgres", url: server.url, schema, clock: systemClock, rng: seededRng(1), ...options });
	if (!opened.ok) assert.fail(opened.detail);
	t.after(() => opened.store.close());
	return opened.store;
}
