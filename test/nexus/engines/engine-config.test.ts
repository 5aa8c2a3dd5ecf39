/** Which log and state a configuration chooses, what it refuses with its place, and that secrets are shown by nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { loadNexusConfig, type NexusConfig } from "../../../src/nexus/config/config.ts";
import { withoutSecrets } from "../../../src/nexus/config/secret-source.ts";
import { formatFaults } from "../../../src/policy/fault.ts";

const ENV = { REDIS_URL: "redis://:hunter2@r:6379", NATS_TOKEN: "hunter2" };

function load(text: string): NexusConfig {
	const result = loadNexusConfig(text, "/etc/nexus/nexus.yaml", ENV);
	assert.ok(result.ok, JSON.stringify(result));
	return result.config;
}

function faults(text: string): string[] {
	const result = loadNexusConfig(text, "/etc/nexus/nexus.yaml", ENV);
	return result.ok ? [] : result.faults.map(({ place, message, hint }) => `${place.line}:${place.column} ${message}; ${hint}`);
}

test("a word or a mapping chooses each engine, with its defaults", () => {
	const cases: readonly [text: string, log: object, state: object][] = [
		["data: x", { backend: "embedded" }, { engine: "sqlite" }],
		["log: embedded\nstate: { sqlite: { file: s.db } }", { backend: "embedded" }, { engine: "sqlite", file: "/etc/nexus/s.db" }],
		["log: memory", { backend: "memory" }, { engine: "memory" }],
		[
			"log: { nats: { servers: ['a:4222', '[::1]:4222'] } }",
			{ backend: "nats", stream: "nexus-events", servers: ["a:4222", "[::1]:4222"], replicas: 1 },
			{ engine: "nats", name: "nexus-state", servers: ["a:4222", "[::1]:4222"], replicas: 1 },
		],
		[
			"log: { nats: { servers: ['a:4222'], replicas: 3, monitor: 'http://a:8222' } }\nstate: { nats: { name: s, replicas: 1 } }",
			{ backend: "nats", stream: "nexus-events", servers: ["a:4222"], replicas: 3, monitor: "http://a:8222" },
			{ engine: "nats", name: "s", servers: ["a:4222"], replicas: 1, monitor: "http://a:8222" },
		],
		[
			"log: { nats: { servers: ['a:4222'] } }\nstate: sqlite",
			{ backend: "nats", stream: "nexus-events", servers: ["a:4222"], replicas: 1 },
			{ engine: "sqlite" },
		],
		[
			"log: { kafka: { brokers: ['k:9092'], topic: t, replicas: 3 } }",
			{ backend: "kafka", brokers: ["k:9092"], topic: "t", replicas: 3 },
			{ engine: "sqlite" },
		],
	];
	for (const [text, log, state] of cases) {
		const config = load(text);
		assert.deepEqual([config.log, config.state], [log, state], text);
	}
});

test("limits that a log cannot hold are not its defaults", () => {
	assert.deepEqual(load("data: x").retention, { bytesMax: 4 * 1024 ** 3, ageMsMax: 7 * 24 * 3_600_000 });
	assert.deepEqual(load("log: { kafka: { brokers: ['k:9092'] } }").retention, { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: 7 * 24 * 3_600_000 });
	assert.deepEqual(load("retention: { maxEvents: 10, types: [ { type: 'a.*', maxAge: 1h, lastPerKey: true } ] }").retention, {
		bytesMax: 4 * 1024 ** 3,
		ageMsMax: 7 * 24 * 3_600_000,
		eventsMax: 10,
		types: [{ type: "a.*", ageMsMax: 3_600_000, lastPerKey: true }],
	});
});

test("what a log cannot do, and what does not go together, is told with its place and a way out", () => {
	const cases: readonly [text: string, ...faults: string[]][] = [
		["log: natz", "1:1 unknown key `natz`; did you mean `nats`?"],
		["log: nats", "1:1 `servers` is missing; add `servers:` here"],
		["log: { nats: { servers: [nowhere] } }", "1:26 `nowhere` is not an address; write host:port"],
		["log: { embedded: {}, memory: {} }\nstate: memory", "1:1 there is more than one log; keep one"],
		["log: memory\nstate: sqlite", "2:1 the log is in memory, and positions in it would outlive it; use `state: memory`, or a log that is kept"],
		[
			"state: { postgres: { url: 'postgres://p/x' } }",
			"1:1 the log embedded belongs to one process, and the state postgres is shared: others would take its positions for theirs; use `state: sqlite`, or a log that nodes can share: nats, redis, kafka, rabbitmq",
		],
		[
			"log: { kafka: { brokers: ['k:1'] } }\nretention: { maxBytes: 1GiB }",
			"2:14 the log kafka has no retention by size (the topic's retention.bytes does it); leave it out, or choose a log that has it: embedded, memory, nats, redis, rabbitmq",
		],
		[
			"log: { redis: { url: 'redis://r' } }\nretention: { types: [ { type: a, lastPerKey: true } ] }",
			"2:34 the log redis has no compaction by key (embedded only); leave it out, or choose a log that has it: embedded",
		],
		[
			"durability: quorum",
			"1:1 the log embedded promises disk at most (fdatasync before the answer, one for all that waits); these can promise quorum: nats, kafka",
		],
		[
			"log: { nats: { servers: ['a:1'] } }\ndurability: disk",
			"2:1 nothing shows that NATS syncs before it acknowledges; name its monitoring port: `log.nats.monitor: http://HOST:8222`",
		],
		["log: { nats: { servers: ['a:1'], replicas: 2 } }", "1:34 an even number of copies survives no more than one copy less; use 1, 3 or 5"],
		[
			"log: { nats: { servers: ['a:1'], stream: x } }\nstate: { nats: { name: x } }",
			"2:1 log and state both want the stream x; give one of them another name",
		],
		["log: { rabbitmq: {} }", "1:8 there is no URL; one of `url` (the environment may fill it) and `urlFile`, a file with nothing else in it"],
		[
			"cluster: { lease: 10ms, url: nowhere }",
			"1:19 `10ms` is out of range; from 1s to 5m",
			"1:30 `nowhere` is not the URL of a node; write http://HOST:PORT",
		],
	];
	for (const [text, ...expected] of cases) assert.deepEqual(faults(text), expected, text);
});

test("a secret from the file, a file of its own or the environment is read when it is used, and shown by nothing", () => {
	const texts = [
		"log: { redis: { url: '$\u007bREDIS_URL}' } }",
		"log: { redis: { url: 'redis://:hunter2@r:6379' } }",
		"log: { nats: { servers: ['a:1'], token: '$\u007bNATS_TOKEN}' } }",
	];
	for (const text of texts) {
		const config = load(text);
		const shown = `${inspect(config, { depth: 9, showHidden: true })}${JSON.stringify(config)}`;
		assert.doesNotMatch(shown, /hunter2/);
		const { log } = config;
		assert.match(
			(log.backend === "redis" ? log.url.read() : log.backend === "nats" ? (log.login?.kind === "token" ? log.login.token.read() : undefined) : "") ??
				"",
			/hunter2/,
		);
	}
	const { log } = load("log: { redis: { urlFile: redis.url } }");
	assert.ok(log.backend === "redis");
	assert.equal(inspect(log.url), "(in /etc/nexus/redis.url)");
	assert.throws(() => log.url.read(), /a secret cannot be read: ENOENT/);
});

test("a faulty configuration is shown without the secrets in it", () => {
	for (const text of [
		"log: { redis: { url: 'http://:hunter2@r', prefix: x } }",
		"log: { nats: { servers: [x], token: hunter2 } }",
		"lod: { a: 'amqp://u:hunter2@h' }",
	]) {
		const result = loadNexusConfig(text, "n.yaml", {});
		assert.ok(!result.ok);
		assert.doesNotMatch(formatFaults(result.faults, withoutSecrets(text)), /hunter2/);
		assert.equal(withoutSecrets(text).length, text.length, "carets stay where they are");
	}
});
