/** The log on a real Redis. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import type { AppendOutcome, EventLog } from "../../../src/nexus/log/event-log.ts";
import { openRedisLog } from "../../../src/nexus/log/redis-log.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { eventually } from "../../support/processes.ts";
import { logConformance } from "./conformance.ts";
import { skipWithout, startRedis } from "./servers.ts";
import { batchOf, eventJson, idOf, numbered, readAll } from "./support.ts";

const skip = skipWithout("redis-server");
const common = { prefix: "nexus", clock: systemClock, log: silentLogger };
const ALWAYS = ["--appendonly", "yes", "--appendfsync", "always"];

async function open(t: TestContext, url: string): Promise<EventLog> {
	const log = await openRedisLog({ ...common, url });
	t.after(() => log.close());
	return log;
}

logConformance("redis", {
	capabilities: { ...BACKENDS.redis, durability: "disk", durabilityBasis: "appendfsync always, as the server says" },
	skip,
	hasServer: true,
	async make(t) {
		const { server, url } = await startRedis(t, ALWAYS);
		return { server, open: () => open(t, url) };
	},
});

test("redis: each setting of its append-only file is named as what it is", { skip }, async (t) => {
	const everysec = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "everysec"]);
	const without = await startRedis(t, ["--appendonly", "no"]);
	assert.equal((await open(t, everysec.url)).capabilities.durability, "os");
	const outcome = await (await open(t, without.url)).append(batchOf([{ id: "1" }]));
	assert.equal(outcome.ok && outcome.durability, "memory");
});

test("redis: one that would drop keys, and one that is not there, are refused with a reason", { skip }, async (t) => {
	const { url } = await startRedis(t, ["--maxmemory-policy", "allkeys-lru"]);
	await assert.rejects(openRedisLog({ ...common, url }), /a log needs noeviction/);
	await assert.rejects(openRedisLog({ ...common, url: "redis://127.0.0.1:1" }), /ECONNREFUSED/);
	await assert.rejects(openRedisLog({ ...common, url, prefix: "a b" }), /prefix/);
});

test("redis: memory that is full refuses as a full disk does, and goes on by itself when there is room", { skip }, async (t) => {
	const { url } = await startRedis(t, [...ALWAYS, "--maxmemory", "4mb"]);
	const log = await open(t, url);
	const taken: string[] = [];
	for (let i = 0; ; i++) {
		const events = numbered(`${i}-`, 50, { data: "x".repeat(2000) });
		const outcome = await log.append(batchOf(events));
		if (outcome.ok) taken.push(...events.map(({ id }) => id));
		else {
			assert.equal(outcome.failure, "full");
			break;
		}
		assert.ok(i < 100);
	}
	assert.deepEqual((await readAll(log)).map(idOf), taken);
	await log.truncate({ bytesMax: 1_000_000, ageMsMax: Number.POSITIVE_INFINITY });
	assert.equal((await log.append(batchOf([{ id: "after" }]))).ok, true);
	assert.equal(log.stats().isFailing, false);
});

test("redis: a server that has lost what it acknowledged is told, and the log goes on behind the sequences that were given", { skip }, async (t) => {
	const { server, url } = await startRedis(t, ["--appendonly", "no"]);
	const errors: string[] = [];
	const log = await openRedisLog({ ...common, url, log: { ...silentLogger, error: (message) => errors.push(message) } });
	t.after(() => log.close());
	await log.append(batchOf(numbered("lost", 5)));
	await server.kill();
	await server.start();
	await eventually("it is taken", async () => (await log.append(batchOf([{ id: "new" }]))).ok);
	assert.deepEqual((await readAll(log)).map(idOf), ["new"]);
	// Who has read what is lost, to the end, gets what comes.
	assert.deepEqual(
		(await readAll(log, { after: 5 })).map(({ sequence }) => sequence),
		[6],
	);
	assert.equal((await readAll(log, { order: "desc" })).length, 1);
	assert.ok(errors.includes("the broker has lost events that it had acknowledged"), errors.join());
});

test("redis: where the server hangs, all that waits for it is refused once that is known, not one after the other", { skip }, async (t) => {
	const { server, url } = await startRedis(t, ["--appendonly", "no"]);
	const clock = new FakeClock();
	const log = await openRedisLog({ ...common, url, clock });
	t.after(() => log.close());
	assert.ok((await log.append(batchOf([{ id: "before" }]))).ok);
	await server.hang();
	t.after(() => server.goOn());
	const hangsSince = clock.monotonicMs();
	const outcomes: AppendOutcome[] = [];
	// Each is a request of its own.
	for (let i = 0; i < 8; i++) void log.append(batchOf([{ id: `${i}`, data: "x".repeat(700_000) }])).then((outcome) => outcomes.push(outcome));
	await eventually("all are answered", async () => {
		clock.advance(500);
		return outcomes.length === 8;
	});
	assert.ok(outcomes.every((outcome) => !outcome.ok && outcome.failure === "unavailable"));
	// That somebody hangs takes 12 s to find out.
	assert.ok(clock.monotonicMs() - hangsSince <= 15_000, `${clock.monotonicMs() - hangsSince} ms`);
});

test("redis: what others have written with a time that is none is told as damage, and stops nobody", { skip }, async (t) => {
	const { url } = await startRedis(t, ALWAYS);
	const log = await open(t, url);
	await log.append(batchOf([{ id: "ours" }]));
	for (const time of ["never", "9e99"])
		spawnSync("redis-cli", ["-u", url, "XADD", "{nexus}:events", "*", "t", time, "e", eventJson({ id: "theirs" })]);
	await eventually("they are there", async () => log.stats().lastSequence > 1);
	const { events, damaged } = await log.read({ order: "asc", limit: 10 });
	assert.deepEqual(events.map(idOf), ["ours"]);
	assert.ok(damaged.length > 0);
});

test("redis: two nodes share one order and one memory", { skip }, async (t) => {
	const { url } = await startRedis(t, ALWAYS);
	const [one, two] = [await open(t, url), await open(t, url)];
	const outcomes = await Promise.all(
		Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? one : two).append(batchOf(numbered(`${Math.floor(i / 2)}-`, 4)))),
	);
	const accepted = outcomes.reduce((sum, outcome) => sum + (outcome.ok ? outcome.accepted : 0), 0);
	assert.equal(accepted, 100);
	assert.equal((await readAll(one)).length, 100);
	assert.equal(spawnSync("redis-cli", ["-u", url, "XLEN", "{nexus}:events"]).stdout.toString().trim(), "100");
});
