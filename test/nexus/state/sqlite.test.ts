/** State in a SQLite file. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { seededRng } from "../../../src/core/rng.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { MIGRATIONS, prepareSchema } from "../../../src/nexus/state/sqlite-schema.ts";
import { put, remove, type StateStore } from "../../../src/nexus/state/state-store.ts";
import { temporaryFolder } from "../../support/processes.ts";
import { changesOf, committed, conformance, get, list, value } from "./conformance.ts";

conformance({
	name: "sqlite",
	durability: "disk",
	isShared: false,
	skip: false,
	isKept: true,
	async bench(t) {
		const file = join(temporaryFolder(t, "state"), "state.db");
		let store = await open(t, file);
		return {
			open: async () => store,
			async restart() {
				await store.close();
				store = await open(t, file);
			},
		};
	},
});

const WRITER = fileURLToPath(new URL("./sqlite-writer.ts", import.meta.url));
// About 200 ms each.
const KILLS = 25;

test("kill -9 at any moment loses no acknowledged commit and no acknowledged cursor, and tears no commit in two", async (t) => {
	const file = join(temporaryFolder(t, "state"), "state.db");
	const random = seededRng(8);
	for (let round = 0; round < KILLS; round++) {
		const writer = spawn(process.execPath, [WRITER, file, `${round}`], { stdio: ["ignore", "pipe", "inherit"] });
		t.after(() => writer.kill("SIGKILL"));
		const killAfter = 1 + Math.floor(random() * 4000);
		let said = "";
		for await (const chunk of writer.stdout) {
			said += String(chunk);
			if (said.length > killAfter) writer.kill("SIGKILL");
		}
		if (writer.signalCode === null) await once(writer, "exit");
		assert.equal(writer.signalCode, "SIGKILL");
		const store = await open(t, file);
		// The last line may be torn: what it would have said is not known.
		let acknowledged = 0;
		let cursor = -1;
		for (const line of said.split("\n").slice(0, -1)) {
			const [kind, i, revision] = line.split(" ");
			if (kind === "cursor") cursor = Math.max(cursor, Number(i));
			else {
				acknowledged++;
				assert.deepEqual(await get(store, "left", `${round}-${i}`), { key: `${round}-${i}`, value: Number(i), revision: Number(revision) });
			}
		}
		assert.ok(acknowledged + cursor > -1);
		const left = await list(store, "left", { prefix: `${round}-` });
		const right = await list(store, "right", { prefix: `${round}-` });
		assert.deepEqual(left.entries, right.entries, "half a commit");
		const kept = (await value(store.cursor(`c${round}`))) as number | undefined;
		assert.ok((kept ?? -1) >= cursor, `cursor ${cursor} was acknowledged, ${kept} is kept`);
		await store.close();
	}
});

test("a full file system refuses writes as full, keeps reading, and takes them again once there is space", {
	skip: skipWithoutMounts(),
}, async (t) => {
	const folder = mkdtempSync(join(tmpdir(), "nexus-state-"));
	assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]).status, 0);
	const opened = await openState({ engine: "sqlite", file: join(folder, "state.db") });
	t.after(async () => {
		if (opened.ok) await opened.store.close();
		spawnSync("umount", ["-l", folder]);
		rmdirSync(folder);
	});
	assert.ok(opened.ok);
	const { store } = opened;
	const first = await committed(store, [put("keys", "first", 1)]);
	writeFileSync(join(folder, "ballast"), Buffer.alloc(600_000));
	let fit = 0;
	for (; ; fit++) {
		const outcome = await store.commit([put("blobs", `b${fit}`, "x".repeat(100_000))]);
		if (outcome.ok) continue;
		assert.equal(outcome.failure, "full");
		break;
	}
	assert.ok(fit > 2);
	assert.equal(store.stats().isFailing, true);
	assert.equal((await get(store, "keys", "first"))?.revision, first);
	assert.equal((await list(store, "blobs")).entries.length, fit);
	rmSync(join(folder, "ballast"));
	const next = await committed(store, [put("blobs", `b${fit}`, "x".repeat(100_000))]);
	assert.equal(next, first + fit + 1, "a refused commit uses no revision");
	assert.equal(store.stats().isFailing, false);
	assert.equal((await changesOf(store, "blobs", 0)).length, fit + 1);
});

test("a state at its bound is full, and takes more once something is deleted and its history is cut", async (t) => {
	const store = await open(t, join(temporaryFolder(t, "state"), "state.db"), { bytesMax: 4_000_000 });
	const blob = "x".repeat(50_000);
	let fit = 0;
	for (; ; fit++) {
		const outcome = await store.commit([put("_blobs", `b${fit}`, blob)]);
		if (outcome.ok) continue;
		assert.equal(outcome.failure, "full");
		break;
	}
	assert.ok(fit > 30);
	await committed(store, [remove("_blobs", "b0")]);
	await committed(store, [put("_blobs", `b${fit}`, blob)]);
});

test("a damaged, foreign or newer file is refused with a reason and left as it is", async (t) => {
	const folder = temporaryFolder(t, "state");
	const good = join(folder, "good.db");
	const store = await open(t, good);
	for (let i = 0; i < 40; i++) await committed(store, [put("policies", `p${i}`, "x".repeat(3000))]);
	await store.close();
	const spoilt = (name: string, spoil: (path: string) => void): string => {
		const path = join(folder, name);
		copyFileSync(good, path);
		spoil(path);
		return path;
	};
	const damagedPages = (path: string): void => {
		const bytes = readFileSync(path);
		bytes.fill(0x5a, 4096 * 3, 4096 * 9);
		writeFileSync(path, bytes);
	};
	const withDatabase = (sql: string) => (path: string) => {
		const database = new DatabaseSync(path);
		database.exec(sql);
		database.close();
	};
	const cases: [string, RegExp][] = [
		[
			spoilt("text.db", (path) => writeFileSync(path, "policies:\n".repeat(900))),
			/text\.db is damaged \(file is not a database.*it is left as it is/,
		],
		[spoilt("pages.db", damagedPages), /pages\.db.*(damaged|page|Tree).*it is left as it is/s],
		[spoilt("short.db", (path) => truncateSync(path, 4096 * 5)), /short\.db.*it is left as it is/s],
		[
			spoilt("newer.db", withDatabase("PRAGMA user_version = 99")),
			/newer\.db: it has version 99, written by a newer Nexus; this one knows up to \d+; it is left/,
		],
		[spoilt("other.db", withDatabase("PRAGMA application_id = 7")), /other\.db: it is a database of another program/],
	];
	const foreign = join(folder, "foreign.db");
	withDatabase("CREATE TABLE theirs (a)")(foreign);
	cases.push([foreign, /foreign\.db: it is a database of another program/]);
	for (const [path, detail] of cases) {
		const before = readFileSync(path);
		const opened = await openState({ engine: "sqlite", file: path });
		assert.ok(!opened.ok, path);
		assert.match(opened.detail, detail);
		assert.deepEqual(readFileSync(path), before, `${path} has changed`);
	}
	const again = await open(t, good);
	assert.equal((await list(again, "policies")).entries.length, 40);
	const folderAsFile = await openState({ engine: "sqlite", file: folder });
	assert.match(folderAsFile.ok ? "" : folderAsFile.detail, /cannot be opened: .*EISDIR/);
});

test("one process at a time has the file, and nobody else may read it", async (t) => {
	const folder = temporaryFolder(t, "state");
	const file = join(folder, "deep/er/state.db");
	const store = await open(t, file);
	const second = await openState({ engine: "sqlite", file });
	assert.match(second.ok ? "" : second.detail, /state\.db is in use by another process/);
	await committed(store, [put("keys", "k", 1)]);
	for (const name of readdirSync(join(folder, "deep/er"))) assert.equal(statSync(join(folder, "deep/er", name)).mode & 0o777, 0o600, name);
	await store.close();
	assert.deepEqual(readdirSync(join(folder, "deep/er")), ["state.db"], "one file when closed");
	assert.equal((await get(await open(t, file), "keys", "k"))?.value, 1);
});

test("an older file is brought to today's version whole or not at all", (t) => {
	const file = join(temporaryFolder(t, "state"), "state.db");
	const versions = [...MIGRATIONS, "ALTER TABLE head ADD COLUMN colour TEXT", "UPDATE head SET colour = 'green'; CREATE TABLE extra (a)"];
	const database = new DatabaseSync(file);
	t.after(() => database.close());
	assert.deepEqual(prepareSchema(database, versions.slice(0, 1)), { ok: true, migratedFrom: 0 });
	database.exec("UPDATE head SET revision = 42");
	assert.throws(() => prepareSchema(database, [...versions, "INSERT INTO nowhere VALUES (1)"]), /no such table/);
	assert.equal(database.isTransaction, false);
	assert.throws(() => database.prepare("SELECT colour FROM head"), /no such column/);
	assert.deepEqual(prepareSchema(database, versions), { ok: true, migratedFrom: 1 });
	assert.deepEqual({ ...database.prepare("SELECT revision, colour FROM head").get() }, { revision: 42, colour: "green" });
	assert.deepEqual(prepareSchema(database, versions), { ok: true, migratedFrom: 3 });
});

test("the loop goes on while the disk is written", async (t) => {
	const store = await open(t, join(temporaryFolder(t, "state"), "state.db"));
	let turns = 0;
	let isDone = false;
	const count = (): void => {
		turns++;
		if (!isDone) setImmediate(count);
	};
	count();
	const blob = "x".repeat(250_000);
	const outcomes = await Promise.all(Array.from({ length: 120 }, (_, i) => store.commit([put("blobs", `b${i}`, blob)])));
	isDone = true;
	assert.ok(outcomes.every(({ ok }) => ok));
	// About 30 MB in 30 groups: a loop that waited for the disk itself would turn once or twice a group.
	assert.ok(turns > 10 * store.stats().groups, `${turns} turns in ${store.stats().groups} groups`);
});

function skipWithoutMounts(): string | false {
	return process.platform === "linux" && process.getuid?.() === 0 ? false : "a small file system can only be mounted by root on Linux";
}

async function open(t: TestContext, file: string, options: { bytesMax?: number } = {}): Promise<StateStore> {
	const opened = await openState({ engine: "sqlite", file, ...options });
	if (!opened.ok) assert.fail(opened.detail);
	t.after(() => opened.store.close());
	return opened.store;
}
