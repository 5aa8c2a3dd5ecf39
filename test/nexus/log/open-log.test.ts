/** One line of configuration chooses the log; what it cannot do is refused before anything is taken. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { type LogConfig, openLog } from "../../../src/nexus/log/open-log.ts";
import { skipWithout, startNats, startRedis } from "./servers.ts";
import { batchOf, temporaryDir } from "./support.ts";

const common = { clock: systemClock, log: silentLogger };
const NEVER = { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: Number.POSITIVE_INFINITY };

test("each backend that is named is opened", { skip: skipWithout("redis-server") || skipWithout("nats-server") }, async (t) => {
	const redis = await startRedis(t, ["--appendonly", "yes"]);
	const nats = await startNats(t);
	const configs: readonly LogConfig[] = [
		{ backend: "embedded", dir: join(temporaryDir(t), "data") },
		{ backend: "memory" },
		{ backend: "redis", url: redis.url, prefix: "nexus" },
		{ backend: "nats", servers: [nats.address], stream: "NEXUS", replicas: 1 },
	];
	for (const config of configs) {
		const { log } = await openLog(config, common);
		assert.equal(log.capabilities.backend, config.backend);
		const outcome = await log.append(batchOf([{ id: "1" }]));
		assert.equal(outcome.ok && outcome.durability, log.capabilities.durability);
		await log.close();
	}
});

test("what is configured and not there is refused, all of it at once, and the log is let go", async (t) => {
	const types = [{ type: "config", lastPerKey: true }];
	await assert.rejects(
		openLog({ backend: "memory" }, { ...common, retention: { ...NEVER, types }, wanted: { features: ["backup"], durability: "disk" } }),
		(thrown: Error) => {
			assert.deepEqual(thrown.message.split("\n"), [
				"the log memory acknowledges with durability memory (nothing is kept past the process), and disk is asked for",
				"the log memory cannot do what is configured: backup while running: no (copy it to another log)",
				"the log memory cannot do what is configured: compaction by key: no (embedded only)",
			]);
			return true;
		},
	);
	const dir = temporaryDir(t);
	const config: LogConfig = { backend: "embedded", dir };
	await assert.rejects(openLog(config, { ...common, wanted: { features: ["sharedByNodes"] } }), /shared by several Nexus nodes: no/);
	const { log } = await openLog(config, { ...common, retention: { ...NEVER, types }, wanted: { features: ["backup"], durability: "disk" } });
	await log.close();
});

test("the clients of brokers are not loaded where none is configured", () => {
	const script = `
		import { registerHooks } from "node:module";
		const loaded = [];
		registerHooks({ resolve(name, context, next) { loaded.push(name); return next(name, context); } });
		const { openLog } = await import(${JSON.stringify(fileURLToPath(new URL("../../../src/nexus/log/open-log.ts", import.meta.url)))});
		const log = { debug() {}, info() {}, warn() {}, error() {} };
		const { systemClock } = await import(${JSON.stringify(fileURLToPath(new URL("../../../src/core/clock.ts", import.meta.url)))});
		await (await openLog({ backend: "memory" }, { clock: systemClock, log })).log.close();
		console.log(loaded.filter((name) => /nats|kafka|rabbitmq-client|^redis$/.test(name)).join());`;
	const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
	assert.deepEqual([status, stderr.toString(), stdout.toString().trim()], [0, "", ""]);
});
