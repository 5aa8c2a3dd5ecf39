/** The log on a real Kafka: one server for the file, as a start takes seconds, and a topic for each test. */
import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openKafkaLog } from "../../../src/nexus/log/kafka-log.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { eventually } from "../../support/processes.ts";
import { logConformance } from "./conformance.ts";
import { type KafkaServer, skipWithoutKafka, startKafka } from "./servers.ts";
import { batchOf, idOf, numbered, readAll } from "./support.ts";

const skip = skipWithoutKafka;
let kafka: KafkaServer;
let topics = 0;
const cleanUps: (() => unknown)[] = [];
if (skip === false)
	before(async () => (kafka = await startKafka({ after: (cleanUp: () => unknown) => cleanUps.push(cleanUp) } as unknown as TestContext)));
after(async () => {
	for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

function open(t: TestContext, topic: string): Promise<EventLog> {
	return openKafkaLog({ brokers: [kafka.address], topic, replicas: 1, clock: systemClock, log: silentLogger }).then((log) => {
		t.after(() => log.close());
		return log;
	});
}

/** A broker that has just started refuses for a moment: it does not know yet what it leads. */
async function openAfterStart(t: TestContext, topic: string): Promise<EventLog> {
	const opened: EventLog[] = [];
	await eventually("the log can be opened", async () => {
		await open(t, topic).then(
			(log) => opened.push(log),
			() => {},
		);
		return opened.length > 0;
	});
	return opened[0] as EventLog;
}

logConformance("kafka", {
	capabilities: { ...BACKENDS.kafka, durabilityBasis: "acks=all, 1 copy, min.insync.replicas=1, page cache" },
	skip,
	hasServer: true,
	async make(t) {
		const topic = `nexus-${topics++}`;
		return { server: kafka.server, open: () => open(t, topic) };
	},
});

test("kafka: the topic's own settings decide what is promised, and one that does not fit is refused", { skip }, async (t) => {
	const { Admin } = await import("@platformatic/kafka");
	const admin = new Admin({ clientId: "test", bootstrapBrokers: [kafka.address] });
	t.after(() => admin.close());
	await admin.createTopics({ topics: ["synced"], partitions: 1, replicas: 1, configs: [{ name: "flush.messages", value: "1" }] });
	await admin.createTopics({ topics: ["wide"], partitions: 3, replicas: 1 });
	await admin.createTopics({ topics: ["compacted"], partitions: 1, replicas: 1, configs: [{ name: "cleanup.policy", value: "compact" }] });
	const outcome = await (await open(t, "synced")).append(batchOf([{ id: "1" }]));
	assert.equal(outcome.ok && outcome.durability, "disk");
	await assert.rejects(open(t, "wide"), /has 3 partitions; a log is one/);
	await assert.rejects(open(t, "compacted"), /is compacted/);
	const nowhere = { brokers: ["127.0.0.1:1"], topic: "t", replicas: 1, clock: systemClock, log: silentLogger };
	await assert.rejects(openKafkaLog(nowhere), /ECONNREFUSED|failed/);
});

test("kafka: a node that was away while the log was cut beyond all that it had seen goes on with what is there", { skip }, async (t) => {
	const topic = `nexus-${topics++}`;
	const clock = new FakeClock();
	const away = await openKafkaLog({ brokers: [kafka.address], topic, replicas: 1, clock, log: silentLogger });
	t.after(() => away.close());
	await away.append(batchOf(numbered("seen", 3)));
	await kafka.server.kill();
	// It tries again when its clock says so.
	await eventually("it has found out", async () => away.stats().isFailing);
	await kafka.server.start();
	const other = await openAfterStart(t, topic);
	await other.append(batchOf(numbered("missed", 20)));
	await other.truncate({ bytesMax: Number.POSITIVE_INFINITY, ageMsMax: Number.POSITIVE_INFINITY, eventsMax: 5 });
	await eventually("it is back", async () => {
		clock.advance(500);
		return away.stats().lastSequence === other.stats().lastSequence && !away.stats().isFailing;
	});
	assert.deepEqual((await readAll(away)).map(idOf), ["missed15", "missed16", "missed17", "missed18", "missed19"]);
	const outcome = await other.append(batchOf([{ id: "after" }]));
	assert.ok(outcome.ok);
	await eventually("it hears of what comes", async () => away.stats().lastSequence === outcome.sequence);
});
