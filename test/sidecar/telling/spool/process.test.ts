/** Real sidecars that are killed while Nexus is away, and a real Nexus that comes back: every event arrives once and in order. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { EventSpool } from "../../../../src/sidecar/telling/event-spool.ts";
import { SpoolDirectory } from "../../../../src/sidecar/telling/spool/spool-directory.ts";
import { spawnNexus } from "../../../nexus/nexus-process.ts";
import { eventually, freePorts, NexusProcess, temporaryFolder } from "../../../support/processes.ts";
import { sampleOf } from "../../support.ts";
import { event, MemoryLog } from "../support.ts";
import { MIB } from "./support.ts";

const GUARD = { timeout: 180_000 };
const BACKLOG = 20_000;

interface Life {
	readonly nexus: NexusProcess;
	/** What it said it made, in order. */
	readonly made: CloudEvent[];
	readonly admin: string;
	metric(name: string, labels?: Record<string, string>): Promise<number>;
}

async function live(t: TestContext, file: string): Promise<Life> {
	const nexus = new NexusProcess(t, ["sidecar", "--config", file]);
	await nexus.said(/"message":"ready"/, "stderr");
	const [, port] = /"admin":"127\.0\.0\.1:(\d+)"/.exec(nexus.stderr) ?? [];
	const admin = `http://127.0.0.1:${port}`;
	const made: CloudEvent[] = [];
	const stream = await fetch(`${admin}/events`);
	void follow(stream, made);
	return {
		nexus,
		made,
		admin,
		async metric(name, labels = {}) {
			return sampleOf(await (await fetch(`${admin}/metrics`)).text(), name, labels);
		},
	};
}

async function follow(stream: Response, made: CloudEvent[]): Promise<void> {
	let text = "";
	try {
		for await (const chunk of stream.body?.pipeThrough(new TextDecoderStream()) ?? []) {
			text += chunk;
			const blocks = text.split("\n\n");
			text = blocks.pop() ?? "";
			for (const block of blocks) {
				const data = block
					.split("\n")
					.filter((line) => line.startsWith("data:"))
					.map((line) => line.slice(5))
					.join("\n");
				if (data.trim() !== "") made.push(JSON.parse(data) as CloudEvent);
			}
		}
	} catch {
		// The sidecar was killed; what was said before that counts.
	}
}

function kill({ nexus }: Life): Promise<unknown> {
	nexus.process.kill("SIGKILL");
	return nexus.ended;
}

async function stored(url: string): Promise<CloudEvent[]> {
	const all: CloudEvent[] = [];
	let after: number | null = 0;
	while (after !== null) {
		const response = await fetch(`${url}/v1/events?limit=1000&after=${after}`);
		const page = (await response.json()) as { events: { event: CloudEvent }[]; next: number | null };
		all.push(...page.events.map((entry) => entry.event));
		after = page.next;
	}
	return all;
}

test("sidecars killed with Nexus away, and killed again while they deliver: each event is in Nexus once, in order per source", GUARD, async (t) => {
	const folder = temporaryFolder(t, "spool-lives");
	const [port = 0] = await freePorts(1);
	const file = join(folder, "policy.yaml");
	const write = (more: string): void =>
		writeFileSync(
			file,
			`service: tested\nadmin: { listen: "127.0.0.1:0" }\noutbound: { listen: "127.0.0.1:0" }\nnexus: { url: "http://127.0.0.1:${port}", spool: { dir: spool } }\n${more}`,
		);
	const lives: CloudEvent[][] = [];
	// A long outage of an earlier sidecar.
	const directory = await SpoolDirectory.open({ dir: join(folder, "spool"), bytesMax: 64 * MIB, clock: systemClock, log: new MemoryLog() });
	const spool = new EventSpool({ directory });
	const backlog = Array.from({ length: BACKLOG }, (_, n) => event(n, n % 50 === 0 ? 9 : 1, 200));
	for (const [n, made] of backlog.entries()) {
		spool.push(made);
		if (n % 1000 === 0) await directory.flush();
	}
	await directory.close(10_000);
	lives.push(backlog);

	for (let round = 0; round < 3; round++) {
		write("");
		const life = await live(t, file);
		for (let n = 0; n < 20; n++) {
			// A policy that is applied, of middle priority, or one that is rejected, of a high one.
			write(n % 2 === 0 ? `drainTimeout: ${n + 1}s\n` : `wrong${n}: true\n`);
			await fetch(`${life.admin}/reload`, { method: "POST" });
		}
		await eventually("events are made", async () => life.made.length >= 20);
		await eventually("they are with the system", async () => (await life.metric("nexus_event_spool_unwritten")) === 0);
		await kill(life);
		lives.push(life.made);
	}

	write("");
	const nexus = await spawnNexus(["--listen", `127.0.0.1:${port}`, "--data", join(folder, "data")]);
	t.after(() => nexus.child.kill("SIGKILL"));
	for (const least of [1, 2000]) {
		const life = await live(t, file);
		await eventually("some are delivered", async () => (await life.metric("nexus_events_sent_total")) >= least);
		await kill(life);
	}
	const last = await live(t, file);
	await eventually("all are delivered", async () => (await last.metric("nexus_events_queued")) === 0);
	assert.equal(await last.metric("nexus_events_dropped_total", { cause: "overflow" }), 0);
	last.nexus.process.kill("SIGTERM");
	assert.deepEqual(await last.nexus.ended, { code: 0, signal: null });
	lives.push(last.made);

	const kept = await stored(nexus.url);
	const places = new Map(kept.map(({ source, id }, place) => [`${source} ${id}`, place]));
	assert.equal(places.size, kept.length, "none twice");
	assert.ok(kept.length >= BACKLOG + 60);
	for (const made of lives) {
		for (const isUrgent of [true, false]) {
			const found = made
				.filter(({ priority = 0 }) => priority >= 8 === isUrgent)
				.map(({ source, id }) => places.get(`${source} ${id}`) ?? assert.fail(`${source} ${id} is lost`));
			assert.deepEqual(
				found,
				found.toSorted((a, b) => a - b),
				"in the order in which they were made",
			);
		}
	}
	await eventually("nothing is left", async () => readdirSync(join(folder, "spool")).every((name) => !name.endsWith(".spool1")));
});

test("a spool directory that cannot be used is a fault of the policy with its place, at the start and at a reload", GUARD, async (t) => {
	const folder = temporaryFolder(t, "spool-bad");
	const file = join(folder, "policy.yaml");
	const write = (to: string, dir: string): void =>
		writeFileSync(
			to,
			`service: tested\nadmin: { listen: "127.0.0.1:0" }\noutbound: { listen: "127.0.0.1:0" }\nnexus:\n  url: "http://127.0.0.1:1"\n  spool: { dir: ${dir} }\n`,
		);
	writeFileSync(join(folder, "taken"), "a file");
	write(file, "taken");
	const bad = new NexusProcess(t, ["sidecar", "--config", file]);
	assert.deepEqual(await bad.ended, { code: 1, signal: null });
	assert.match(bad.stderr, /policy\.yaml:6:12: the spool directory .*taken cannot be used: EEXIST/);
	write(file, "one");
	const life = await live(t, file);
	// Another sidecar has it.
	const other = join(folder, "other.yaml");
	write(other, "one");
	const second = new NexusProcess(t, ["sidecar", "--config", other]);
	assert.deepEqual(await second.ended, { code: 1, signal: null });
	assert.match(second.stderr, new RegExp(`other\\.yaml:6:12: .*it is in use by process ${life.nexus.process.pid}`));
	write(file, "taken");
	await life.nexus.said(/"message":"policy rejected/, "stderr");
	assert.match(life.nexus.stderr, /policy\.yaml:6:12.*cannot be used/);
	assert.equal((await fetch(`${life.admin}/readyz`)).status, 200);
});

test("a reload turns the directory on, moves it and turns it off, and no event is lost or out of order", GUARD, async (t) => {
	const folder = temporaryFolder(t, "spool-move");
	const [port = 0] = await freePorts(1);
	const file = join(folder, "policy.yaml");
	const write = (spool: string): void =>
		writeFileSync(
			file,
			`service: tested\nadmin: { listen: "127.0.0.1:0" }\noutbound: { listen: "127.0.0.1:0" }\nnexus: { url: "http://127.0.0.1:${port}"${spool} }\n`,
		);
	write("");
	const life = await live(t, file);
	const reload = async (spool: string): Promise<void> => {
		write(spool);
		const before = life.made.length;
		await fetch(`${life.admin}/reload`, { method: "POST" });
		await eventually("it is applied", async () => life.made.length > before);
	};
	const files = (dir: string): number => readdirSync(join(folder, dir)).filter((name) => name.endsWith(".spool1")).length;
	await reload(", spool: { dir: one }");
	await eventually("it is on disk", async () => files("one") > 0 && (await life.metric("nexus_event_spool_unwritten")) === 0);
	await reload(", spool: { dir: two }");
	await eventually("it has moved", async () => files("two") > 0 && files("one") === 0);
	await reload(", spool: { dir: two, maxBytes: 1MiB }");
	await reload("");
	assert.equal(files("two"), 0);
	await reload(", spool: { dir: one }");
	const nexus = await spawnNexus(["--listen", `127.0.0.1:${port}`, "--data", join(folder, "data")]);
	t.after(() => nexus.child.kill("SIGKILL"));
	await eventually("all are delivered", async () => (await life.metric("nexus_events_queued")) === 0);
	const made = life.made.map(({ id }) => id);
	const kept = (await stored(nexus.url)).map(({ id }) => id);
	assert.deepEqual(
		kept.filter((id) => made.includes(id)),
		made,
	);
	assert.equal(made.length, 5);
});
