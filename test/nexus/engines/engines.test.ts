/** What Nexus stands on: opened as configured, kept together, refused in words; and the same Nexus on each log. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { Lifecycle } from "../../../src/core/lifecycle.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { SLICES } from "../../../src/nexus/cluster/slices.ts";
import { loadNexusConfig } from "../../../src/nexus/config/config.ts";
import { type Engines, enginesText, openEngines } from "../../../src/nexus/engines/engines.ts";
import { skipWithout, skipWithoutRabbitmq, startNats, startRabbitmq, startRedis } from "../log/servers.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { batchOf, eventJson, serveNexus, temporaryDir } from "../support.ts";

function configOf(dir: string, text: string) {
	const result = loadNexusConfig(`data: ./data\n${text}`, join(dir, "nexus.yaml"), {});
	assert.ok(result.ok, JSON.stringify(result));
	return result.config;
}

async function open(t: TestContext, dir: string, text: string): Promise<Engines & { close(): Promise<void> }> {
	const lifecycle = new Lifecycle();
	t.after(() => lifecycle.close());
	const engines = await openEngines({ ...configOf(dir, text), clock: systemClock, rng: systemRng, logger: silentLogger, lifecycle }).catch(
		async (thrown: unknown) => {
			await lifecycle.close();
			throw thrown;
		},
	);
	return { ...engines, close: async () => assert.deepEqual(await lifecycle.close(), []) };
}

test("a data directory is one node: the same after a restart, and never two at once", async (t) => {
	const dir = temporaryDir(t);
	const first = await open(t, dir, "log: memory");
	assert.match(first.nodeId, /^[0-9a-f]{16}$/);
	await assert.rejects(open(t, dir, "log: memory"), /in use by another Nexus/);
	await first.close();
	const second = await open(t, dir, "log: memory");
	assert.equal(second.nodeId, first.nodeId);
	await second.close();
	writeFileSync(join(dir, "data", "node.id"), "nonsense\n");
	await assert.rejects(open(t, dir, "log: memory"), /holds no identity of a node/);
});

test("a state stays with the log whose positions it holds", { skip: skipWithout("redis-server") }, async (t) => {
	const { url } = await startRedis(t, ["--appendonly", "yes"]);
	const dir = temporaryDir(t);
	await (await open(t, dir, "log: embedded")).close();
	const onRedis = `log: { redis: { url: '${url}' } }`;
	await assert.rejects(open(t, dir, onRedis), /the state sqlite holds positions in the log embedded, and redis \(nexus\) is configured/);
	const own = await open(t, dir, `${onRedis}\nstate: { sqlite: { file: redis-state.db } }`);
	assert.equal(own.isShared, false);
	assert.equal(own.retention, undefined, "one node holds the log within its limits by itself");
	await own.close();
	await (await open(t, dir, "log: embedded")).close();
});

test("a size of events that the server does not take is refused in words", { skip: skipWithout("nats-server") }, async (t) => {
	const { address } = await startNats(t);
	const log = `log: { nats: { servers: ['${address}'] } }\n`;
	await assert.rejects(
		open(t, temporaryDir(t), `${log}limits: { maxEventBytes: 1MiB }`),
		/the log nats takes events of 1048320 bytes at most \(max_payload of the server\), and limits\.maxEventBytes is 1048576/,
	);
	const { log: opened, close } = await open(t, temporaryDir(t), `${log}limits: { maxEventBytes: 1023KiB }`);
	const around = eventJson({ id: "large", data: "" }).length;
	const outcome = await opened.append(batchOf([{ id: "large", data: "x".repeat(1023 * 1024 - around) }, { id: "small" }]));
	assert.equal(outcome.ok && outcome.accepted, 2, JSON.stringify(outcome));
	await close();
});

test("a durability that the server does not give is refused in words", { skip: skipWithout("redis-server") }, async (t) => {
	const { url } = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "everysec"]);
	const dir = temporaryDir(t);
	await assert.rejects(
		open(t, dir, `log: { redis: { url: '${url}' } }\ndurability: disk`),
		/the log redis acknowledges with durability os .*, and disk is asked for/,
	);
});

test("a secret may stand in a file, and is in no error", async (t) => {
	const dir = temporaryDir(t);
	writeFileSync(join(dir, "url"), "redis://:hunter2@127.0.0.1:1\n", { mode: 0o600 });
	await assert.rejects(
		open(t, dir, "log: { redis: { urlFile: url } }"),
		(thrown: Error) => !thrown.message.includes("hunter2") && thrown.message !== "",
	);
	mkdirSync(join(dir, "empty"));
	writeFileSync(join(dir, "none"), "\n");
	await assert.rejects(open(t, dir, "log: { redis: { urlFile: none } }"), /holds no secret: it is empty/);
});

test("what it stands on is told in two lines", async (t) => {
	const engines = await open(t, temporaryDir(t), "log: memory");
	const [first, second] = enginesText(engines).split("\n");
	assert.equal(first, "log: memory; acknowledged means memory (nothing is kept past the process); state: memory (memory); one node");
	assert.match(second ?? "", /^the log can: ordered by key, .*; it cannot: .*backup while running/);
});

interface Case {
	readonly name: string;
	readonly skip: string | false;
	readonly engines: (t: TestContext) => Promise<string>;
	readonly isShared: boolean;
}

const CASES: readonly Case[] = [
	{ name: "files and SQLite", skip: false, engines: async () => "", isShared: false },
	{ name: "memory", skip: false, engines: async () => "log: memory\n", isShared: false },
	{
		name: "NATS",
		skip: skipWithout("nats-server"),
		engines: async (t) => `log: { nats: { servers: ['${(await startNats(t)).address}'] } }\n`,
		isShared: true,
	},
	{
		name: "Redis and PostgreSQL",
		skip: skipWithout("redis-server") || skipWithoutPostgres,
		async engines(t) {
			const postgres = await PostgresServer.start();
			t.after(() => postgres.stop());
			const { url } = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"]);
			return `log: { redis: { url: '${url}' } }\nstate: { postgres: { url: '${postgres.url}' } }\ndurability: disk\n`;
		},
		isShared: true,
	},
	{
		name: "RabbitMQ and SQLite",
		skip: skipWithoutRabbitmq,
		engines: async (t) => `log: { rabbitmq: { url: '${(await startRabbitmq(t)).url}' } }\n`,
		isShared: false,
	},
];

for (const { name, skip, engines, isShared } of CASES) {
	test(`Nexus on ${name} takes events, delivers them to who fetches, and says what it stands on`, { skip, timeout: 120_000 }, async (t) => {
		const dir = temporaryDir(t);
		const config = configOf(dir, await engines(t));
		const { nexus, url } = await serveNexus(t, config.dataDir, {
			log: config.log,
			state: config.state,
			retention: config.retention,
			durability: config.durability,
		});
		const json = async (path: string, init: RequestInit = {}): Promise<Record<string, unknown>> => {
			const answer = await fetch(`${url}${path}`, { ...init, headers: { "content-type": "application/json" } });
			const text = await answer.text();
			assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
			return JSON.parse(text) as Record<string, unknown>;
		};
		await json("/v1/subscriptions/mine", { method: "PUT", body: JSON.stringify({ filter: { type: "t" }, sink: { kind: "pull" } }) });
		const sent = await fetch(`${url}/v1/events`, {
			method: "POST",
			headers: { "content-type": "application/cloudevents-batch+json" },
			body: `[${eventJson({ id: "1" })},${eventJson({ id: "2" })},${eventJson({ id: "1" })}]`,
		});
		const { accepted, duplicates, durability } = (await sent.json()) as { accepted: number; duplicates: number; durability: string };
		assert.deepEqual([accepted, duplicates, durability], [2, 1, nexus.log.capabilities.durability]);
		const { deliveries } = (await json("/v1/subscriptions/mine/fetch", { method: "POST", body: '{"max":10,"wait":"10s"}' })) as {
			deliveries: { event: { id: string } }[];
		};
		assert.deepEqual(
			deliveries.map(({ event }) => event.id),
			["1", "2"],
		);
		const status = (await json("/v1/status")) as {
			log: { engine: string };
			shared: boolean;
			duties: Record<string, string>;
			nodes: { slices: number[] }[];
			node: string;
		};
		assert.deepEqual([status.log.engine, status.shared, status.nodes.length], [config.log.backend, isShared, isShared ? 1 : 0]);
		assert.deepEqual(status.duties, isShared ? { retention: status.node } : {});
		assert.equal(status.nodes[0]?.slices.length, isShared ? SLICES : undefined);
		assert.deepEqual(await json("/readyz"), { status: "ready" });
		const metrics = await (await fetch(`${url}/metrics`)).text();
		assert.match(metrics, new RegExp(`^nexus_log_info\\{engine="${config.log.backend}",durability="${durability}"\\} 1$`, "m"));
		assert.match(metrics, /^nexus_dispatching 1$/m);
		assert.deepEqual(await nexus.close(), []);
	});
}
