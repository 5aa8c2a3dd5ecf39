/**
 * What each engine makes of Nexus, briefly and on this machine: `node bench/nexus/engines.ts`. A real `nexus serve` on a real server for each;
 * what is not installed is left out. For docs/engines.md, not for comparing with other products (see publish.ts for that).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
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
import { Message } from "./publish-events.ts";

interface Figures {
	readonly engines: string;
	readonly durability: string;
	readonly batchesPerSecond: number;
	readonly singlesPerSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly subscribePerSecond: number;
}

interface Contestant {
	readonly name: string;
	readonly skip: string | false;
	/** Lines of the configuration. */
	readonly start: (t: TestContext) => Promise<string>;
}

const MEASURE_MS = 4_000;
const WARM_UP_MS = 1_000;
const CONNECTIONS = 8;
const BATCH = 64;
const SUBSCRIPTIONS = 200;

const CONTESTANTS: readonly Contestant[] = [
	{ name: "embedded + sqlite", skip: false, start: async () => "" },
	{ name: "memory + memory", skip: false, start: async () => "log: memory\n" },
	{
		name: "nats + nats",
		skip: skipWithout("nats-server"),
		start: async (t) => `log: { nats: { servers: ['${(await startNats(t)).address}'] } }\n`,
	},
	{
		name: "redis (appendfsync always) + sqlite",
		skip: skipWithout("redis-server"),
		start: async (t) => `log: { redis: { url: '${(await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"])).url}' } }\n`,
	},
	{
		name: "redis (appendfsync everysec) + sqlite",
		skip: skipWithout("redis-server"),
		start: async (t) => `log: { redis: { url: '${(await startRedis(t, ["--appendonly", "yes", "--appendfsync", "everysec"])).url}' } }\n`,
	},
	{
		name: "kafka + postgres",
		skip: skipWithoutKafka || skipWithoutPostgres,
		async start(t) {
			const postgres = await PostgresServer.start();
			t.after(() => postgres.stop());
			return `log: { kafka: { brokers: ['${(await startKafka(t)).address}'] } }\nstate: { postgres: { url: '${postgres.url}' } }\n`;
		},
	},
	{
		name: "rabbitmq + sqlite",
		skip: skipWithoutRabbitmq,
		start: async (t) => `log: { rabbitmq: { url: '${(await startRabbitmq(t)).url}' } }\n`,
	},
];

for (const contestant of CONTESTANTS) {
	if (contestant.skip !== false) {
		process.stdout.write(`${contestant.name}: left out, ${contestant.skip}\n`);
		continue;
	}
	const { batchesPerSecond, singlesPerSecond, p50Ms, p99Ms, subscribePerSecond, durability } = await measure(contestant);
	process.stdout.write(
		`| ${contestant.name} | ${durability} | ${round(batchesPerSecond * BATCH)} | ${round(singlesPerSecond)} | ${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} ms | ${round(subscribePerSecond)} |\n`,
	);
}

async function measure({ name, start }: Contestant): Promise<Figures> {
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
			if (answer.status !== 200) throw new Error(`${name}: ${answer.status} ${JSON.stringify(body)}`);
			durability = body.durability;
		};
		await repeat(1, WARM_UP_MS, () => post(batches));
		const many = await repeat(CONNECTIONS, MEASURE_MS, () => post(batches));
		const one = await repeat(1, MEASURE_MS, () => post(single));
		let n = 0;
		const document = JSON.stringify({ filter: { type: "none" }, sink: { kind: "pull" } });
		const put = async (): Promise<void> => {
			const headers = { "content-type": "application/json" };
			const answer = await fetch(`${nexus.url}/v1/subscriptions/s${n++ % SUBSCRIPTIONS}`, { method: "PUT", headers, body: document });
			await answer.arrayBuffer();
		};
		const subscribed = await repeat(1, MEASURE_MS / 2, put);
		const sorted = one.tookMs.sort((a, b) => a - b);
		return {
			engines: name,
			durability,
			batchesPerSecond: many.perSecond,
			singlesPerSecond: one.perSecond,
			p50Ms: sorted[Math.floor(sorted.length * 0.5)] ?? 0,
			p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
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

function round(value: number): string {
	const digits = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
	return (Math.round(value / digits) * digits).toLocaleString("en");
}
