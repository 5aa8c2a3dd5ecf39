/** Backups of log and state together: taken under load, cut off, on a full disk, damaged; and what comes out of them goes on without loss. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { LogTools } from "../../src/nexus/backup/log-tools.ts";
import { SmallDisk } from "./nemesis/small-disk.ts";
import { type NexusProcess, spawnNexus } from "./nexus-process.ts";
import { call, publish, until } from "./subscriptions/support.ts";
import { numbered, serveNexus, temporaryDir } from "./support.ts";

interface Fetched {
	readonly deliveries: readonly { readonly token: string; readonly event: { readonly id: string } }[];
}

interface EventsPage {
	readonly events: readonly { readonly event: { readonly id: string } }[];
	readonly next: number | null;
}

interface Backup {
	readonly state: string;
	readonly lastSequence?: number;
	readonly error?: string;
	readonly missing?: string;
}

const PULL = { filter: { type: "t" }, from: "all", sink: { kind: "pull" }, delivery: { ackWait: "5s", backoff: ["10ms"], attempts: 100 } };
const tools = new LogTools(() => {});

async function fetched(url: string, wait: string): Promise<Fetched["deliveries"]> {
	return (await call<Fetched>(`${url}/v1/subscriptions/s/fetch`, "POST", { max: 20, wait })).json.deliveries;
}

/** Takes and acknowledges until there is nothing more. */
async function drained(url: string, isEnough: (ids: ReadonlySet<string>) => boolean): Promise<ReadonlySet<string>> {
	const ids = new Set<string>();
	await until("all of it is delivered", async () => {
		const deliveries = await fetched(url, "100ms");
		for (const { event } of deliveries) ids.add(event.id);
		if (deliveries.length > 0) await call(`${url}/v1/subscriptions/s/ack`, "POST", { ack: deliveries.map(({ token }) => token) });
		return isEnough(ids);
	});
	return ids;
}

async function madeBackup(url: string, name: string): Promise<Backup> {
	assert.equal((await call(`${url}/v1/log/backups`, "POST", { name })).status, 202);
	return eventual<Backup>(async () => {
		const { json } = await call<Backup>(`${url}/v1/log/backups/${name}`, "GET");
		return json.state === "running" ? undefined : json;
	});
}

async function eventual<T>(look: () => Promise<T | undefined>): Promise<T> {
	let found: T | undefined;
	await until("it is so", async () => {
		found = await look();
		return found !== undefined;
	});
	assert.ok(found !== undefined);
	return found;
}

async function idsAt(url: string): Promise<Set<string>> {
	const ids = new Set<string>();
	for (let after: number | null = 0; after !== null; ) {
		const answer: { json: EventsPage } = await call<EventsPage>(`${url}/v1/events?type=t&limit=1000&after=${after}`, "GET");
		for (const { event } of answer.json.events) ids.add(event.id);
		after = answer.json.next;
	}
	return ids;
}

function processes(t: TestContext): (dir: string) => Promise<NexusProcess> {
	const running = new Set<NexusProcess>();
	t.after(() => Promise.all([...running].map((each) => each.stop("SIGKILL"))));
	return async (dir) => {
		const nexus = await spawnNexus(["--listen", "127.0.0.1:0", "--data", dir]);
		running.add(nexus);
		return nexus;
	};
}

test("subscriptions go on without loss from a backup that was taken under load, also where Nexus is killed in the next one", async (t) => {
	const base = temporaryDir(t);
	const start = processes(t);
	const live = await start(join(base, "live"));
	const at = `${live.url}/v1/subscriptions/s`;
	assert.equal((await call(at, "PUT", PULL)).status, 201);
	// One dead letter, and a token for somebody.
	await call(`${live.url}/v1/subscriptions/dead`, "PUT", { filter: { type: "dead" }, sink: { kind: "pull" }, delivery: { attempts: 1 } });
	await publish(live.url, { id: "corpse", type: "dead" });
	const [corpse] = (await call<Fetched>(`${live.url}/v1/subscriptions/dead/fetch`, "POST", { max: 1, wait: "10s" })).json.deliveries;
	await call(`${live.url}/v1/subscriptions/dead/ack`, "POST", { term: [corpse?.token] });
	await until("it is a dead letter", async () => (await call(`${live.url}/v1/subscriptions/dead`, "GET")).json.deadLetters === 1);
	const token = (await call<{ token: string }>(`${live.url}/v1/tokens`, "POST", { role: "read", name: "x" })).json.token;

	const accepted = new Set<string>();
	const acknowledged = new Set<string>();
	let isOver = false;
	const produce = async (producer: number): Promise<void> => {
		for (let n = 0; !isOver; n++) {
			const events = numbered(`${producer}-${n}-`, 8);
			await publish(live.url, ...events).catch((thrown: unknown) => {
				if (!isOver) throw thrown;
			});
			if (!isOver) for (const { id } of events) accepted.add(id);
		}
	};
	const consume = async (): Promise<void> => {
		while (!isOver) {
			const deliveries = await fetched(live.url, "100ms").catch(() => []);
			// Asked for before the answer: what the answer says may never come here.
			for (const { event } of deliveries) acknowledged.add(event.id);
			if (deliveries.length > 0) await call(`${at}/ack`, "POST", { ack: deliveries.map((each) => each.token) }).catch(() => undefined);
		}
	};
	const load = Promise.all([produce(0), produce(1), consume(), consume()]);
	await until("the load runs", () => acknowledged.size > 200);
	const before = new Set(accepted);
	const made = await madeBackup(live.url, "first");
	assert.equal(made.state, "done", String(made.error));
	assert.equal(made.missing, undefined);
	const sizeThen = acknowledged.size;
	await until("it goes on", () => acknowledged.size > sizeThen + 50);
	isOver = true;
	await call(`${live.url}/v1/log/backups`, "POST", { name: "second" });
	await live.stop("SIGKILL");
	await load;

	const backups = join(base, "live", "backups");
	const restored = join(base, "restored");
	await tools.verify(join(backups, "first"), {});
	await tools.restore(join(backups, "first"), restored, {});
	assert.deepEqual(
		readdirSync(restored).filter((name) => /-wal$|-shm$|-journal$/.test(name)),
		[],
	);
	for (const name of readdirSync(restored)) assert.equal(statSync(join(restored, name)).mode & 0o077, 0, name);
	const again = await start(restored);
	const held = await idsAt(again.url);
	assert.deepEqual(
		[...before].filter((id) => !held.has(id)),
		[],
		"acknowledged before the backup began, and not in it",
	);
	const { position } = (await call(`${again.url}/v1/subscriptions/s`, "GET")).json;
	assert.ok(position <= (made.lastSequence ?? 0), `position ${position} is ahead of ${made.lastSequence}`);
	await publish(again.url, ...numbered("new-", 20));
	const delivered = await drained(again.url, (ids) => ids.has("new-19") && [...held].every((id) => ids.has(id) || acknowledged.has(id)));
	for (const { id } of numbered("new-", 20)) assert.ok(delivered.has(id), id);
	assert.equal((await call(`${again.url}/v1/subscriptions/dead`, "GET")).json.deadLetters, 1);
	assert.equal((await call(`${again.url}/v1/events`, "GET", undefined, { authorization: `Bearer ${token}` })).status, 200);

	// What the second one has left is no backup, and nothing of it is in the way.
	const other = await start(join(base, "live"));
	const listed = (await call<{ backups: { name: string }[] }>(`${other.url}/v1/log/backups`, "GET")).json.backups.map(({ name }) => name);
	if (!listed.includes("second")) assert.equal((await madeBackup(other.url, "second")).state, "done");
	await tools.verify(join(backups, "second"), {});
});

test("kill -9 in the middle of a backup, round after round: Nexus starts, keeps its events, and the next one is made", async (t) => {
	const dir = join(temporaryDir(t), "data");
	const start = processes(t);
	const random = seededRng(7);
	const accepted = new Set<string>();
	for (let round = 0; round < 4; round++) {
		const nexus = await start(dir);
		if (round === 0) await call(`${nexus.url}/v1/subscriptions/s`, "PUT", PULL);
		const events = numbered(`${round}-`, 60).map((event) => ({ ...event, data: "x".repeat(20_000) }));
		await publish(nexus.url, ...events);
		for (const { id } of events) accepted.add(id);
		assert.equal((await call(`${nexus.url}/v1/log/backups`, "POST", { name: "it" })).status, 202);
		const killAtMs = performance.now() + random() * 12;
		while (performance.now() < killAtMs) await new Promise(setImmediate);
		await nexus.stop("SIGKILL");
		const backup = join(dir, "backups", "it");
		if (existsSync(backup)) {
			// It was whole by then.
			await tools.verify(backup, {});
			rmSync(backup, { recursive: true });
		}
	}
	const nexus = await start(dir);
	assert.equal((await madeBackup(nexus.url, "it")).state, "done");
	assert.equal(existsSync(join(dir, "backups", "it.partial")), false);
	const held = await idsAt(nexus.url);
	assert.deepEqual(
		[...accepted].filter((id) => !held.has(id)),
		[],
	);
});

test("what a backup that was cut off has left goes with the first one that is made an hour later, and is never listed", async (t) => {
	const dir = temporaryDir(t);
	const backups = join(dir, "backups");
	for (const name of ["old.partial", "young.partial", "not-ours"]) {
		mkdirSync(join(backups, name), { recursive: true });
		writeFileSync(join(backups, name, "backup.json"), "{}");
	}
	const before = new Date(Date.now() - 2 * 3_600_000);
	utimesSync(join(backups, "old.partial"), before, before);
	const { url } = await serveNexus(t, dir);
	assert.equal((await call(`${url}/v1/log/backups`, "POST", { name: "x.partial" })).status, 400);
	assert.equal((await madeBackup(url, "new")).state, "done");
	assert.deepEqual(readdirSync(backups).sort(), ["new", "not-ours", "young.partial"]);
	const listed = (await call<{ backups: { name: string }[] }>(`${url}/v1/log/backups`, "GET")).json.backups;
	assert.deepEqual(
		listed.map(({ name }) => name),
		["new", "not-ours"],
	);
});

test("a backup with a damaged, shortened or missing file is refused with the name of that file, and nothing is left", async (t) => {
	const base = temporaryDir(t);
	const { url } = await serveNexus(t, join(base, "data"));
	await publish(url, ...numbered("e", 50));
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	await call(`${url}/v1/tokens`, "POST", { role: "read", name: "x" });
	assert.equal((await madeBackup(url, "b")).state, "done");
	const backup = join(base, "data", "backups", "b");
	const target = join(base, "restored");
	const names = readdirSync(backup).filter((name) => name !== "backup.json");
	assert.ok(names.includes("state.db") && names.includes("identity.json"), names.join());
	for (const name of names) {
		const path = join(backup, name);
		const whole = readFileSync(path);
		const flipped = Buffer.from(whole);
		flipped.writeUInt8(flipped.readUInt8(whole.length >> 1) ^ 1, whole.length >> 1);
		const breaks: readonly (() => void)[] = [() => writeFileSync(path, flipped), () => truncateSync(path, whole.length - 1), () => rmSync(path)];
		for (const damage of breaks) {
			damage();
			await assert.rejects(tools.restore(backup, target, {}), new RegExp(`/b/${name} is not what was backed up`));
			await assert.rejects(tools.verify(backup, {}), new RegExp(`/b/${name} is not what was backed up`));
			assert.equal(existsSync(target) || existsSync(`${target}.partial`), false);
			writeFileSync(path, whole);
		}
	}
	const manifest = join(backup, "backup.json");
	const text = readFileSync(manifest, "utf8");
	for (const wrong of ["", "{", text.replace('"state.db"', '"../state.db"'), text.replace('"format": 2', '"format": 9')]) {
		writeFileSync(manifest, wrong);
		await assert.rejects(tools.restore(backup, target, {}), /backup\.json is damaged/);
	}
	writeFileSync(manifest, text);
	await tools.restore(backup, target, {});
});

test("a disk that is full ends a backup with the reason, leaves nothing of it, and the log goes on", async (t) => {
	let disk: SmallDisk | undefined;
	// Before the directory that it is in goes.
	t.after(() => disk?.unmount());
	const base = temporaryDir(t);
	const backupsDir = join(base, "small");
	mkdirSync(backupsDir);
	disk = SmallDisk.mount(backupsDir, 4);
	if (disk === undefined) return t.skip("a file system of its own can be mounted by root on Linux only");
	const { url } = await serveNexus(t, join(base, "data"), { backupsDir });
	await call(`${url}/v1/subscriptions/s`, "PUT", PULL);
	await publish(url, ...numbered("e", 40).map((event) => ({ ...event, data: "x".repeat(50_000) })));
	disk.fill();
	// Not even the state fits.
	const none = await call<Backup>(`${url}/v1/log/backups`, "POST", { name: "none" });
	assert.ok([202, 507].includes(none.status), String(none.status));
	if (none.status === 202) {
		const failed = await eventual(async () => {
			const { json } = await call<Backup>(`${url}/v1/log/backups/none`, "GET");
			return json.state === "running" ? undefined : json;
		});
		assert.equal(failed.state, "failed");
		assert.match(String(failed.error), /no space/i);
	}
	disk.free();
	// The state fits, the log does not.
	writeFileSync(join(backupsDir, "filler"), Buffer.alloc(3 * 1024 * 1024));
	const failed = await madeBackup(url, "half");
	assert.equal(failed.state, "failed");
	assert.match(String(failed.error), /no space/i);
	assert.deepEqual(readdirSync(backupsDir), ["filler"]);
	await publish(url, { id: "after", type: "t" });
	disk.free();
	const made = await madeBackup(url, "whole");
	assert.equal(made.state, "done", String(made.error));
	await tools.verify(join(backupsDir, "whole"), {});
});
