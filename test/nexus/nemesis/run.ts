/**
 * One run: Nexus, three producers and three consumers as processes, faults on a schedule for as long as is asked, and then, with everything well
 * again, the judgement of what came out. NEMESIS_SECONDS makes it longer, NEMESIS_SEED repeats a schedule, NEMESIS_KEEP keeps data and
 * records of one that fails.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { freePorts } from "../../support/processes.ts";
import { violationsOf } from "./checker.ts";
import { type Broker, bringAbout, type Footing } from "./faults.ts";
import type { History, Line, Moment, Seen, Sent } from "./history.ts";
import { NexusHost, Worker } from "./house.ts";
import { Operator, type StoredLog } from "./operator.ts";
import { pause } from "./record.ts";
import { Relay } from "./relay.ts";
import { type FaultKind, lanesOf, scheduleOf } from "./schedule.ts";
import { SmallDisk } from "./small-disk.ts";

export interface RunOptions {
	/** The lines of the configuration that choose log and state. */
	readonly engines: string;
	/** On the same log and state; 1 unless told otherwise. */
	readonly nodes?: number;
	readonly broker?: Broker;
	/** With its data on it; undefined where it cannot be had. */
	readonly brokerDisk?: SmallDisk | undefined;
	readonly brokerLink?: Relay;
	/** Where it is a server of its own. */
	readonly state?: Footing;
	/** In each round, each of them comes once. */
	readonly faults: readonly FaultKind[];
	/** Also where it is sent again to another node; so it is unless told otherwise. */
	readonly isTakenOnce?: boolean;
	/** What each acknowledgement is to promise. */
	readonly durability: string;
	/** Unless NEMESIS_SECONDS says otherwise. One round runs in any case. */
	readonly seconds: number;
}

/** Of a test, beyond the seconds of its run. */
export const RUN_OVERHEAD_MS = 300_000;

// A run writes some 300 kB a second; the rest is for the filler.
const DISK_MIB_MIN = 64;
const DISK_MIB_PER_SECOND = 1;
// Some write files of a fixed size first.
const BROKER_DISK_MIB_MIN = 384;
const REPLAY_KILLED_MS_MAX = 150;
const LOG_FULL = 507;
const NAMES = ["hook", "pull"] as const;

export function secondsOf(seconds: number): number {
	return Number(process.env.NEMESIS_SECONDS ?? seconds);
}

/** For the data of a broker. Undefined where it cannot be had. */
export function diskOf(t: TestContext, seconds: number): SmallDisk | undefined {
	return SmallDisk.temporary(t, BROKER_DISK_MIB_MIN + secondsOf(seconds) * DISK_MIB_PER_SECOND);
}

export async function runNemesis(t: TestContext, options: RunOptions): Promise<void> {
	const seed = Number(process.env.NEMESIS_SEED ?? Math.floor(Math.random() * 1_000_000));
	const seconds = secondsOf(options.seconds);
	t.diagnostic(`the same schedule again: NEMESIS_SEED=${seed} NEMESIS_SECONDS=${seconds}`);
	const run = await Run.prepare(t, options, seed, seconds);
	try {
		await run.start();
		await run.torment(options.faults);
		await run.drain();
		run.judge(options.durability);
	} catch (thrown) {
		run.tellLastWords();
		throw thrown;
	}
}

class Run {
	readonly #t: TestContext;
	readonly #options: RunOptions;
	readonly #seed: number;
	readonly #seconds: number;
	readonly #disk: SmallDisk | undefined;
	readonly #alarms: string[] = [];
	readonly #nodes: readonly NexusHost[];
	/** Before each node. */
	readonly #links: readonly Relay[];
	readonly #operator: Operator;
	readonly #producers: readonly Worker[];
	readonly #consumers: { readonly hook: Worker; readonly pull: Worker };
	readonly #follower: Worker;
	readonly #hookUrl: string;
	#stored: StoredLog = { events: [], gaps: [] };
	readonly #parked = new Map<string, ReadonlySet<string>>();
	readonly #dead = new Map<string, readonly Seen[]>();
	#isOver = false;

	static async prepare(t: TestContext, options: RunOptions, seed: number, seconds: number): Promise<Run> {
		const [hookPort = 0, ...ports] = await freePorts(1 + (options.nodes ?? 1));
		const links = await Promise.all(ports.map((port) => Relay.start(t, port)));
		return new Run(t, options, seed, seconds, hookPort, ports, links);
	}

	private constructor(
		t: TestContext,
		options: RunOptions,
		seed: number,
		seconds: number,
		hookPort: number,
		ports: readonly number[],
		links: readonly Relay[],
	) {
		this.#t = t;
		this.#options = options;
		this.#seed = seed;
		this.#seconds = seconds;
		this.#links = links;
		this.#hookUrl = `http://127.0.0.1:${hookPort}/`;
		const base = mkdtempSync(join(tmpdir(), "nexus-nemesis-"));
		const dirs = ports.map((_, i) => join(base, `node${i}`));
		for (const dir of dirs) mkdirSync(dir);
		const alarm = (what: string): void => void this.#alarms.push(what);
		this.#nodes = ports.map((port, i) => new NexusHost(dirs[i] ?? "", port, options.engines, alarm));
		const dataDir = this.#nodes[0]?.dataDir ?? "";
		this.#disk = options.faults.includes("disk-full") ? SmallDisk.mount(dataDir, DISK_MIB_MIN + seconds * DISK_MIB_PER_SECOND) : undefined;
		const direct = this.#nodes.map(({ url }) => url);
		const linked = links.map(({ port }) => `http://127.0.0.1:${port}`);
		this.#operator = new Operator(direct, () => this.#checkAlarms());
		const worker = (name: string, script: string, parameters: object): Worker => new Worker(name, script, parameters, base, alarm);
		const producer = (way: string, urls: readonly string[], i: number): Worker => worker(way, "producer-process.ts", { way, urls, seed: seed + i });
		this.#producers = [producer("single", direct, 0), producer("batch", linked, 1), producer("socket", linked.toReversed(), 2)];
		this.#consumers = {
			hook: worker("hook", "hook-process.ts", { port: hookPort, isMended: false }),
			pull: worker("pull", "pull-process.ts", { urls: direct.map((url) => `${url}/v1/subscriptions/pull`), isMended: false }),
		};
		this.#follower = worker("follower", "follower-process.ts", { url: linked[0] });
		t.after(async () => {
			await Promise.all([...this.#nodes, ...this.#workers].map((each) => each.kill()));
			if (process.env.NEMESIS_KEEP !== undefined && !this.#isOver) return t.diagnostic(`kept: ${base}`);
			this.#disk?.unmount();
			rmSync(base, { recursive: true, force: true });
		});
	}

	get #workers(): readonly Worker[] {
		return [...this.#producers, ...Object.values(this.#consumers), this.#follower];
	}

	/** All is well, and everybody at work. */
	async start(): Promise<void> {
		for (const node of this.#nodes) await node.start();
		await this.#operator.subscribe("hook", { kind: "webhook", url: this.#hookUrl });
		await this.#operator.subscribe("pull", { kind: "pull" });
		for (const worker of this.#workers) worker.start();
		// What is not there from the beginning is an answer to a client, not a reason to try again.
		await this.#operator.until("all are at work", () => this.#workers.find((worker) => worker.record().length === 0)?.name);
	}

	/** Faults until the time is over: of each victim one after the other, of different ones also at once. */
	async torment(kinds: readonly FaultKind[]): Promise<void> {
		const { broker, brokerDisk, brokerLink, state } = this.#options;
		const disks = new Map<FaultKind, SmallDisk | undefined>([
			["disk-full", this.#disk],
			["broker-full", brokerDisk],
		]);
		const possible = kinds.filter((kind) => !disks.has(kind) || disks.get(kind) !== undefined);
		if (possible.length < kinds.length) this.#t.diagnostic("without a full disk: only root on Linux can mount a small one");
		const dataDir = this.#nodes[0]?.dataDir ?? "";
		const victims = {
			nodes: this.#nodes,
			dataDir,
			disk: this.#disk,
			broker,
			brokerDisk,
			brokerLink,
			state,
			clientLinks: this.#links,
			consumers: this.#consumers,
			operator: this.#operator,
		};
		const endsAtMs = performance.now() + this.#seconds * 1000;
		const counts = new Map<FaultKind, number>();
		let isLost = false;
		const tormentOne = async (lane: readonly FaultKind[], seed: number): Promise<void> => {
			let steps = 0;
			for (const { calmMs, fault } of scheduleOf(seed, lane)) {
				if (isLost || (steps++ >= lane.length && performance.now() > endsAtMs)) return;
				await pause(calmMs);
				await bringAbout(fault, victims);
				this.#checkAlarms();
				counts.set(fault.kind, (counts.get(fault.kind) ?? 0) + 1);
			}
		};
		const lanes = lanesOf(possible).map((lane, i) =>
			tormentOne(lane, this.#seed + i).catch((thrown: unknown) => {
				isLost = true;
				throw thrown;
			}),
		);
		// None of them starts anything once the run is over.
		await Promise.allSettled(lanes);
		await Promise.all(lanes);
		this.#t.diagnostic([...counts].map(([kind, count]) => `${kind} ${count}`).join(", "));
	}

	/** Nothing fails any more: what was sent is acknowledged, what is stored is delivered or parked, and what was parked is tried again. */
	async drain(): Promise<void> {
		const operator = this.#operator;
		await operator.untilDone("all is acknowledged", Promise.all(this.#producers.map((producer) => producer.finish())));
		this.#stored = await operator.readLog();
		await Promise.all(NAMES.map((name) => operator.settled(name)));
		for (const name of NAMES) this.#parked.set(name, new Set((await operator.deadLetters(name)).map(({ id }) => id)));
		// A good end writes everything down, and with it ends what still was on its way to a consumer.
		await Promise.all(this.#nodes.map((node) => node.stop()));
		await Promise.all(Object.values(this.#consumers).map((consumer) => consumer.replace({ isMended: true })));
		await Promise.all(this.#nodes.map((node) => node.start()));
		await this.#replayAndKill();
		for (const name of NAMES) await this.#recover(name);
		const last = this.#stored.events.at(-1)?.sequence ?? 0;
		await operator.until("the follower has all", () => {
			const newest = this.#follower.record().findLast((line) => line.what === "followed");
			return newest?.what === "followed" && newest.sequence >= last ? undefined : JSON.stringify(newest);
		});
		await Promise.all([...Object.values(this.#consumers), this.#follower].map((worker) => worker.finish()));
		this.#checkAlarms();
	}

	/** The last fault: the end of Nexus in the middle of a replay. */
	async #replayAndKill(): Promise<void> {
		const replays = NAMES.map((name) => this.#operator.beginReplay(name));
		await pause(seededRng(this.#seed)() * REPLAY_KILLED_MS_MAX);
		await Promise.all(this.#nodes.map((node) => node.kill()));
		await Promise.all(replays);
		await Promise.all(this.#nodes.map((node) => node.start()));
	}

	/** Until only that is dead which is refused for ever. */
	async #recover(name: string): Promise<void> {
		await this.#operator.until(`${name} has no dead letters but the poisoned`, async () => {
			await this.#operator.replay(name);
			const letters = await this.#operator.deadLetters(name);
			this.#dead.set(name, letters);
			const { length } = letters.filter(({ fate }) => fate !== "poison");
			return length === 0 ? undefined : `${length} others`;
		});
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
		this.#isOver = true;
	}

	#history(lines: readonly Line[]): History {
		const sent = new Map<string, Sent>();
		const acknowledged = new Set<string>();
		for (const line of lines) {
			if (line.what === "sent") sent.set(line.id, line);
			else if (line.what === "acknowledged") acknowledged.add(line.id);
		}
		const followed = this.#follower.record();
		const subscriptions = NAMES.map((name) => ({
			name,
			moments: this.#consumers[name].record() as Moment[],
			parked: this.#parked.get(name) ?? new Set(),
			dead: this.#dead.get(name) ?? [],
		}));
		return {
			isTakenOnce: this.#options.isTakenOnce ?? true,
			sent,
			acknowledged,
			stored: this.#stored.events,
			followed: followed.flatMap((line) => (line.what === "followed" ? [line] : [])),
			gaps: [
				...this.#stored.gaps.map((gap) => ({ where: "log", ...gap })),
				...followed.flatMap((line) => (line.what === "gap" ? [{ where: "follower", first: line.first, last: line.last }] : [])),
			],
			subscriptions,
		};
	}

	#tell({ sent, acknowledged, stored, followed, subscriptions }: History, refused: ReadonlyMap<number, number>): void {
		const answers = [...refused].map(([status, count]) => `${status === 0 ? "no answer" : status} ${count}`).join(", ");
		this.#t.diagnostic(
			`${sent.size} events sent, ${acknowledged.size} acknowledged, ${stored.length} stored, ${followed.length} followed; tries refused: ${answers}`,
		);
		for (const { name, moments, parked, dead } of subscriptions) {
			const deliveries = moments.filter(({ what }) => what === "delivered").length;
			const accepted = new Set(moments.flatMap((moment) => (moment.what === "accepted" ? [moment.id] : []))).size;
			this.#t.diagnostic(`${name}: ${deliveries} deliveries, ${accepted} events accepted, ${parked.size} parked, ${dead.length} for ever`);
		}
	}

	tellLastWords(): void {
		for (const { url, said } of this.#nodes) this.#t.diagnostic(`Nexus at ${url} said at last:\n${said}`);
	}

	#checkAlarms(): void {
		assert.deepEqual(this.#alarms, []);
	}
}
