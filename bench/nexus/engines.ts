/** What each engine makes of Nexus: a real `nexus serve` on a real server for each. Not for comparing brokers with Nexus (publish.ts does). */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { messageOf } from "../../src/core/errors.ts";
import {
	skipWithout,
	skipWithoutKafka,
	skipWithoutRabbitmq,
	startKafka,
	startNats,
	startRabbitmq,
	startRedis,
} from "../../test/nexus/log/servers.ts";
import { spawnNexus } from "../../test/nexus/nexus-process.ts";
import { PostgresServer, skipWithoutPostgres } from "../../test/nexus/state/postgres-server.ts";
import { pinSelf } from "../machine.ts";
import { median, percentile } from "../stats.ts";
import { figure, thousands } from "../table.ts";
import type { PartReport, Stage } from "./part.ts";
import { Message } from "./publish-events.ts";
import { kafkaVersion, natsVersion, postgresVersion, rabbitmqVersion, redisVersion } from "./versions.ts";

interface Figures {
	/** What an acknowledgement means, in its own word. */
	readonly durability: string;
	/** In batches. */
	readonly eventsPerSecond: number;
	readonly singlesPerSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly subscribePerSecond: number;
}

interface Contestant {
	/** Log and state, with their versions; asked only where they are installed. */
	readonly name: () => string;
	readonly skip: string | false;
	/** Lines of the configuration. */
	readonly start: (t: TestContext) => Promise<string>;
}

const WARM_UP_MS = 1_000;
const IN_FLIGHT = 8;
const BATCH = 64;
const SUBSCRIPTIONS = 200;

const CONTESTANTS: readonly Contestant[] = [
	{ name: () => "embedded + sqlite", skip: false, start: async () => "" },
	{ name: () => "memory + memory", skip: false, start: async () => "log: memory\n" },
	{
		name: () => `nats ${natsVersion("nats-server")} + nats`,
		skip: skipWithout("nats-server"),
		start: async (t) => `log: { nats: { servers: ['${(await startNats(t)).address}'] } }\n`,
	},
	{
		name: () => `redis ${redisVersion()}, appendfsync always, + sqlite`,
		skip: skipWithout("redis-server"),
		start: async (t) => `log: { redis: { url: '${(await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"])).url}' } }\n`,
	},
	{
		name: () => `redis ${redisVersion()}, appendfsync everysec, + sqlite`,
		skip: skipWithout("redis-server"),
		start: async (t) => `log: { redis: { url: '${(await startRedis(t, ["--appendonly", "yes", "--appendfsync", "everysec"])).url}' } }\n`,
	},
	{
		name: () => `kafka ${kafkaVersion()} + postgres ${postgresVersion()}`,
		skip: skipWithoutKafka || skipWithoutPostgres,
		async start(t) {
			const postgres = await PostgresServer.start();
			t.after(() => postgres.stop());
			return `log: { kafka: { brokers: ['${(await startKafka(t)).address}'] } }\nstate: { postgres: { url: '${postgres.url}' } }\n`;
		},
	},
	{
		name: () => `rabbitmq ${rabbitmqVersion()} + sqlite`,
		skip: skipWithoutRabbitmq,
		start: async (t) => `log: { rabbitmq: { url: '${(await startRabbitmq(t)).url}' } }\n`,
	},
];

interface Row {
	readonly name: string;
	readonly turns: Figures[];
	fault: string;
}

export async function measureEngines({ cores, progress, options }: Stage): Promise<PartReport> {
	const notes = CONTESTANTS.flatMap(({ skip }) => (skip === false ? [] : [`left out: ${skip}`]));
	const present = CONTESTANTS.filter(({ skip }) => skip === false);
	const rows = present.map((contestant): Row & { contestant: Contestant } => ({ contestant, name: contestant.name(), turns: [], fault: "" }));
	// Nexus, the engine and the client share both cores.
	pinSelf(cores.proxy, cores.rest);
	try {
		for (let round = 1; round <= options.rounds; round++) {
			for (const row of rows.filter(({ fault }) => fault === "")) {
				progress.step(`engines, round ${round}/${options.rounds}: ${row.name}`);
				try {
					row.turns.push(await measure(row.contestant, options.seconds * 1000));
				} catch (thrown) {
					row.fault = messageOf(thrown);
				}
			}
		}
	} finally {
		pinSelf(cores.rest);
	}
	const of = ({ turns }: Row, pick: (figures: Figures) => number): number => median(turns.map(pick));
	return {
		tables: [
			{
				title: "Nexus on each engine",
				columns: [
					"log + state",
					"acknowledged means",
					`events/s in batches of ${BATCH}`,
					"one by one/s",
					"p50 ms",
					"p99 ms",
					"subscriptions changed/s",
				],
				rows: rows.map((row) => [
					row.name,
					row.turns[0]?.durability ?? "",
					thousands(of(row, ({ eventsPerSecond }) => eventsPerSecond)),
					thousands(of(row, ({ singlesPerSecond }) => singlesPerSecond)),
					...[of(row, ({ p50Ms }) => p50Ms), of(row, ({ p99Ms }) => p99Ms)].map((ms) => figure(ms, 1)),
					thousands(of(row, ({ subscribePerSecond }) => subscribePerSecond)),
				]),
				notes: [...notes, ...rows.filter(({ fault }) => fault !== "").map(({ name, fault }) => `${name}: ${fault}`)],
			},
		],
		verdicts: [],
		figures: rows.map(({ name, turns, fault }) => ({ name, turns, fault })),
	};
}

/** Rejects where something is refused. */
async function measure({ start }: Contestant, measureMs: number): Promise<Figures> {
	const ends: (() => unknown)[] = [];
	const t = { after: (end: () => unknown) => void ends.push(end) } as unknown as TestContext;
	const dir = mkdtempSync(join(tmpdir(), "nexus-bench-"));
	ends.push(() => rmSync(dir, { recursive: true, force: true }));
	try {
		mkdirSync(join(dir, "data"));
		const file = join(dir, "nexus.yaml");
		writeFileSync(file, `listen: 127.0.0.1:0\ndata: ./data\n${await start(t)}`);
		const nexus = await spawnNexus(["--config", file]);
		ends.push(() => nexus.stop("SIGKILL"));
		const batches = new Message(BATCH, true, (json) => json);
		const single = new Message(1, true, (json) => json);
		let durability = "";
		const post = async (message: Message): Promise<void> => {
			const answer = await fetch(`${nexus.url}/v1/events`, {
				method: "POST",
				headers: { "content-type": "application/cloudevents-batch+json" },
				body: new Uint8Array(message.next()),
			});
			const body = (await answer.json()) as { durability: string };
			if (answer.status !== 200) throw new Error(`${answer.status} ${JSON.stringify(body)}`);
			durability = body.durability;
		};
		await repeat(1, WARM_UP_MS, () => post(batches));
		const many = await repeat(IN_FLIGHT, measureMs, () => post(batches));
		const one = await repeat(1, measureMs, () => post(single));
		let n = 0;
		const document = JSON.stringify({ filter: { type: "none" }, sink: { kind: "pull" } });
		const put = async (): Promise<void> => {
			const headers = { "content-type": "application/json" };
			const answer = await fetch(`${nexus.url}/v1/subscriptions/s${n++ % SUBSCRIPTIONS}`, { method: "PUT", headers, body: document });
			const text = await answer.text();
			if (!answer.ok) throw new Error(`${answer.status} ${text}`);
		};
		const subscribed = await repeat(1, measureMs / 2, put);
		const sorted = Float64Array.from(one.tookMs).sort();
		return {
			durability,
			eventsPerSecond: many.perSecond * BATCH,
			singlesPerSecond: one.perSecond,
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			subscribePerSecond: subscribed.perSecond,
		};
	} finally {
		for (const end of ends.reverse()) await end();
	}
}

async function repeat(inFlight: number, forMs: number, act: () => Promise<void>): Promise<{ perSecond: number; tookMs: number[] }> {
	const tookMs: number[] = [];
	const startedMs = performance.now();
	const loop = async (): Promise<void> => {
		for (let nowMs = performance.now(); nowMs - startedMs < forMs; ) {
			await act();
			const thenMs = performance.now();
			tookMs.push(thenMs - nowMs);
			nowMs = thenMs;
		}
	};
	await Promise.all(Array.from({ length: inFlight }, loop));
	return { perSecond: (tookMs.length / (performance.now() - startedMs)) * 1000, tookMs };
}
