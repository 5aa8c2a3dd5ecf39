/**
 * One run: a Nexus, three producers and three consumers as processes, faults on a schedule for as long as is asked, and then, with everything well
 * again, the judgement of what came out. NEMESIS_SECONDS makes it longer, NEMESIS_SEED repeats a schedule.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { freePorts } from "../../support/processes.ts";
import type { Server } from "../log/servers.ts";
import { violationsOf } from "./checker.ts";
import { bringAbout } from "./faults.ts";
import type { History, Line, Moment, Seen, Sent } from "./history.ts";
import { NexusHost, Worker } from "./house.ts";
import { pause } from "./record.ts";
import { type FaultKind, scheduleOf } from "./schedule.ts";
import { SmallDisk } from "./small-disk.ts";
import { digestOf, TYPE, type WorkEvent } from "./workload.ts";

export interface RunOptions {
	/** The lines of the configuration that choose log and state. */
	readonly engines: string;
	readonly broker?: Server;
	/** In each round, each of them comes once. */
	readonly faults: readonly FaultKind[];
	/** What each acknowledgement is to promise. */
	readonly durability: string;
	/** Unless NEMESIS_SECONDS says otherwise. One round runs in any case. */
	readonly seconds: number;
}

/** Of a test, beyond the seconds of its run. */
export const RUN_OVERHEAD_MS = 240_000;

// A run writes some 300 kB a second; the rest is for the filler.
const DISK_MIB_MIN = 64;
const DISK_MIB_PER_SECOND = 1;
// Nothing is decided by it: it only turns a hang into a failure that shows what it waits for.
const DRAIN_MS = 90_000;
const POLL_MS = 200;
const REPLAY_KILLED_MS_MAX = 150;
const LOG_FULL = 507;
const NAMES = ["hook", "pull"] as const;
const DELIVERY = { attempts: 5, ackWait: "1s", backoff: ["50ms", "200ms", "1s"] };

export function secondsOf(seconds: number): number {
	return Number(process.env.NEMESIS_SECONDS ?? seconds);
}

export async function runNemesis(t: TestContext, options: RunOptions): Promise<void> {
	const seed = Number(process.env.NEMESIS_SEED ?? Math.floor(Math.random() * 1_000_000));
	const seconds = secondsOf(options.seconds);
	t.diagnostic(`the same schedule again: NEMESIS_SEED=${seed} NEMESIS_SECONDS=${seconds}`);
	const run = await Run.start(t, options, seed, seconds);
	try {
		await run.torment(options.faults);
		await run.drain();
		run.judge(options.durability);
	} catch (thrown) {
		t.diagnostic(`Nexus said at last:\n${run.nexus.said}`);
		throw thrown;
	}
}

class Run {
	readonly nexus: NexusHost;
	readonly #t: TestContext;
	readonly #options: RunOptions;
	readonly #seed: number;
	readonly #seconds: number;
	readonly #dataDir: string;
	readonly #disk: SmallDisk | undefined;
	readonly #alarms: string[] = [];
	readonly #producers: readonly Worker[];
	readonly #consumers: { readonly hook: Worker; readonly pull: Worker };
	readonly #follower: Worker;
	#stored: Seen[] = [];
	readonly #gaps: { where: string; first: number; last: number }[] = [];
	readonly #dead = new Map<string, Seen[]>();
	readonly #recovered = new Map<string, number>();

	private constructor(t: TestContext, options: RunOptions, seed: number, seconds: number, ports: readonly number[]) {
		this.#t = t;
		this.#options = options;
		this.#seed = seed;
		this.#seconds = seconds;
		const [port = 0, hookPort = 0] = ports;
		const base = mkdtempSync(join(tmpdir(), "nexus-nemesis-"));
		this.#dataDir = join(base, "data");
		mkdirSync(this.#dataDir);
		this.#disk = options.faults.includes("disk-full") ? SmallDisk.mount(this.#dataDir, DISK_MIB_MIN + seconds * DISK_MIB_PER_SECOND) : undefined;
		const config = join(base, "nexus.yaml");
		writeFileSync(config, `listen: 127.0.0.1:${port}\ndata: ./data\n${options.engines}`);
		const alarm = (what: string): void => void this.#alarms.push(what);
		this.nexus = new NexusHost(config, port, alarm);
		const { url } = this.nexus;
		const worker = (name: string, script: string, parameters: object): Worker => new Worker(name, script, parameters, base, alarm);
		this.#producers = (["single", "batch", "socket"] as const).map((way, i) => worker(way, "producer-process.ts", { way, url, seed: seed + i }));
		this.#consumers = {
			hook: worker("hook", "hook-process.ts", { port: hookPort, isMended: false }),
			pull: worker("pull", "pull-process.ts", { url: `${url}/v1/subscriptions/pull`, isMended: false }),
		};
		this.#follower = worker("follower", "follower-process.ts", { url });
		t.after(async () => {
			await Promise.all([this.nexus.kill(), ...this.#workers.map((each) => each.kill())]);
			this.#disk?.unmount();
			rmSync(base, { recursive: true, force: true });
		});
	}

	static async start(t: TestContext, options: RunOptions, seed: number, seconds: number): Promise<Run> {
		const ports = await freePorts(2);
		const run = new Run(t, options, seed, seconds, ports);
		await run.nexus.start();
		await run.#subscribe("hook", { kind: "webhook", url: `http://127.0.0.1:${ports[1]}/` });
		await run.#subscribe("pull", { kind: "pull" });
		for (const worker of run.#workers) worker.start();
		// What is not there from the beginning is an answer to a client, not a reason to try again.
		await run.#poll("all are at work", async () => run.#workers.every((worker) => worker.record().length > 0));
		return run;
	}

	get #workers(): readonly Worker[] {
		return [...this.#producers, ...Object.values(this.#consumers), this.#follower];
	}

	/** One fault after the other, until the time is over. */
	async torment(kinds: readonly FaultKind[]): Promise<void> {
		const possible = kinds.filter((kind) => kind !== "disk-full" || this.#disk !== undefined);
		if (possible.length < kinds.length) this.#t.diagnostic("without full disks: only root on Linux can mount a small one");
		const victims = { nexus: this.nexus, dataDir: this.#dataDir, disk: this.#disk, broker: this.#options.broker, consumers: this.#consumers };
		const endsAtMs = performance.now() + this.#seconds * 1000;
		const counts = new Map<FaultKind, number>();
		let steps = 0;
		for (const { calmMs, fault } of scheduleOf(this.#seed, possible)) {
			if (steps++ >= possible.length && performance.now() > endsAtMs) break;
			await pause(calmMs);
			await bringAbout(fault, victims);
			this.#checkAlarms();
			counts.set(fault.kind, (counts.get(fault.kind) ?? 0) + 1);
		}
		this.#t.diagnostic([...counts].map(([kind, count]) => `${kind} ${count}`).join(", "));
	}

	/** Nothing fails any more: what was sent is acknowledged, what is stored is delivered or parked, and what was parked is tried again. */
	async drain(): Promise<void> {
		await this.#until("all is acknowledged", Promise.all(this.#producers.map((producer) => producer.finish())));
		this.#stored = await this.#readLog();
		await Promise.all(NAMES.map((name) => this.#settled(name)));
		await Promise.all(Object.values(this.#consumers).map((consumer) => consumer.replace({ isMended: true })));
		await this.#replayAndKill();
		await Promise.all(NAMES.map((name) => this.#recover(name)));
		const last = this.#stored.at(-1)?.sequence ?? 0;
		await this.#poll("the follower has all", async () => {
			const newest = this.#follower.record().findLast((line) => line.what === "followed");
			return newest?.what === "followed" && newest.sequence >= last;
		});
		await Promise.all([...Object.values(this.#consumers), this.#follower].map((worker) => worker.finish()));
		this.#checkAlarms();
	}

	judge(durability: string): void {
		const lines = this.#producers.flatMap((producer) => producer.record());
		const promised = new Set(lines.flatMap((line) => (line.what === "acknowledged" ? [line.durability] : [])));
		assert.deepEqual([...promised], [durability], "what acknowledgements promise");
		const refused = new Map<number, number>();
		for (const line of lines) if (line.what === "refused") refused.set(line.status, (refused.get(line.status) ?? 0) + 1);
		const history = this.#history(lines);
		this.#tell(history, refused);
		const violations = violationsOf(history);
		assert.deepEqual(violations, [], JSON.stringify(violations, null, "\t"));
		// A run in which nothing happened would be judged well, too.
		assert.ok(history.acknowledged.size >= this.#seconds, `only ${history.acknowledged.size} events were acknowledged`);
		assert.ok(history.subscriptions.every(({ dead }) => dead.length > 0) || history.sent.size < 1_000, "no dead letters");
		assert.ok(this.#disk === undefined || this.#options.broker !== undefined || refused.has(LOG_FULL), "the disk was never full");
	}

	#history(lines: readonly Line[]): History {
		const sent = new Map<string, Sent>();
		const acknowledged = new Set<string>();
		for (const line of lines) {
			if (line.what === "sent") sent.set(line.id, line);
			else if (line.what === "acknowledged") acknowledged.add(line.id);
		}
		const followed = this.#follower.record();
		for (const line of followed) if (line.what === "gap") this.#gaps.push({ where: "follower", first: line.first, last: line.last });
		const subscriptions = NAMES.map((name) => {
			const moments = this.#consumers[name].record() as Moment[];
			return { name, moments, dead: this.#dead.get(name) ?? [] };
		});
		return {
			sent,
			acknowledged,
			stored: this.#stored,
			followed: followed.flatMap((line) => (line.what === "followed" ? [line] : [])),
			gaps: this.#gaps,
			subscriptions,
		};
	}

	#tell({ sent, acknowledged, stored, followed, subscriptions }: History, refused: ReadonlyMap<number, number>): void {
		const answers = [...refused].map(([status, count]) => `${status === 0 ? "no answer" : status} ${count}`).join(", ");
		this.#t.diagnostic(
			`${sent.size} events sent, ${acknowledged.size} acknowledged, ${stored.length} stored, ${followed.length} followed; tries refused: ${answers}`,
		);
		for (const { name, moments, dead } of subscriptions) {
			const deliveries = moments.filter(({ what }) => what === "delivered").length;
			const accepted = new Set(moments.flatMap(({ what, id }) => (what === "accepted" ? [id] : []))).size;
			this.#t.diagnostic(
				`${name}: ${deliveries} deliveries, ${accepted} events accepted, ${dead.length} dead; ${this.#recovered.get(name)} dead before recovered`,
			);
		}
	}

	async #subscribe(name: string, sink: object): Promise<void> {
		const body = JSON.stringify({ filter: { type: TYPE }, from: "all", sink, strategy: "keyed", delivery: DELIVERY });
		// A Nexus on a shared state has to get its lease first.
		await this.#poll(`${name} is made`, async () => {
			const response = await fetch(this.#at(name), { method: "PUT", headers: { "content-type": "application/json" }, body });
			const text = await response.text();
			assert.ok(response.status === 201 || response.status === 503, text);
			return response.status === 201;
		});
	}

	#settled(name: string): Promise<void> {
		return this.#poll(`${name} has nothing open`, async () => {
			const { lag } = await this.#get<{ lag: { open: number; unread: number } }>(this.#at(name));
			return lag.open === 0 && lag.unread === 0;
		});
	}

	/** The last fault: the end of Nexus in the middle of a replay. */
	async #replayAndKill(): Promise<void> {
		const replays = NAMES.map((name) => this.#replay(name).catch(() => {}));
		await pause(seededRng(this.#seed)() * REPLAY_KILLED_MS_MAX);
		await this.nexus.kill();
		await Promise.all(replays);
		await this.nexus.start();
	}

	/** Until only that is dead which is refused for ever. */
	async #recover(name: string): Promise<void> {
		let recovered = 0;
		await this.#poll(`${name} has no dead letters but the poisoned`, async () => {
			recovered += await this.#replay(name);
			const letters = await this.#readDeadLetters(name);
			const dead = letters.map(({ sequence, event }) => seen(sequence, event));
			this.#dead.set(name, dead);
			return letters.every(({ event }) => event.fate === "poison");
		});
		this.#recovered.set(name, recovered);
	}

	/** How many are dead letters no more. */
	async #replay(name: string): Promise<number> {
		const response = await fetch(`${this.#at(name)}/dead-letters/replay`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ wait: "20s" }),
		});
		const text = await response.text();
		// A Nexus on a shared state has to get its lease first.
		assert.ok(response.status === 200 || response.status === 503, text);
		return response.status === 200 ? (JSON.parse(text) as { recovered: number }).recovered : 0;
	}

	async #readDeadLetters(name: string): Promise<{ sequence: number; event: WorkEvent }[]> {
		const all: { sequence: number; event: WorkEvent }[] = [];
		for (let after: string | null = ""; after !== null; ) {
			const query: string = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
			const page: { deadLetters: typeof all; next: string | null } = await this.#get(`${this.#at(name)}/dead-letters?limit=100${query}`);
			all.push(...page.deadLetters);
			after = page.next;
		}
		return all;
	}

	async #readLog(): Promise<Seen[]> {
		const all: Seen[] = [];
		interface Page {
			readonly events: readonly { readonly sequence: number; readonly event: WorkEvent }[];
			readonly next: number | null;
			readonly damaged?: readonly { readonly first: number; readonly last: number }[];
		}
		for (let after: number | null = 0; after !== null; ) {
			const page: Page = await this.#get(`${this.nexus.url}/v1/events?type=${TYPE}&limit=1000&after=${after}`);
			all.push(...page.events.map(({ sequence, event }) => seen(sequence, event)));
			this.#gaps.push(...(page.damaged ?? []).map((gap) => ({ where: "log", ...gap })));
			after = page.next;
		}
		return all;
	}

	#at(name: string): string {
		return `${this.nexus.url}/v1/subscriptions/${name}`;
	}

	async #get<T>(url: string): Promise<T> {
		let text = "";
		// A Nexus on a shared state that was just started has to get its lease first.
		await this.#poll(`${url} answers`, async () => {
			const response = await fetch(url);
			text = await response.text();
			assert.ok(response.status === 200 || response.status === 503, `${url}: ${text}`);
			return response.status === 200;
		});
		return JSON.parse(text) as T;
	}

	async #poll(what: string, holds: () => Promise<boolean>): Promise<void> {
		const untilMs = performance.now() + DRAIN_MS;
		while (!(await holds())) {
			this.#checkAlarms();
			if (performance.now() > untilMs) assert.fail(`${what}: still not so after ${DRAIN_MS} ms`);
			await pause(POLL_MS);
		}
	}

	async #until(what: string, done: Promise<unknown>): Promise<void> {
		let isDone = false;
		void done.then(() => {
			isDone = true;
		});
		await this.#poll(what, async () => isDone);
	}

	#checkAlarms(): void {
		assert.deepEqual(this.#alarms, []);
	}
}

function seen(sequence: number, event: WorkEvent): Seen {
	return { sequence, id: event.id, digest: digestOf(event) };
}
