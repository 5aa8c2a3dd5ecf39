/** The log on a real RabbitMQ: one server for the file, as a start takes many seconds, and a stream for each test. */
import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { BACKENDS } from "../../../src/nexus/log/capabilities.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openRabbitmqLog } from "../../../src/nexus/log/rabbitmq-log.ts";
import { logConformance } from "./conformance.ts";
import { type RabbitmqServer, skipWithoutRabbitmq, startRabbitmq } from "./servers.ts";

const skip = skipWithoutRabbitmq;
const cleanUps: (() => unknown)[] = [];
let rabbitmq: RabbitmqServer;
let queues = 0;
if (skip === false)
	before(async () => (rabbitmq = await startRabbitmq({ after: (cleanUp: () => unknown) => cleanUps.push(cleanUp) } as unknown as TestContext)));
after(async () => {
	for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

async function open(t: TestContext, queue: string): Promise<EventLog> {
	const log = await openRabbitmqLog({ url: rabbitmq.url, queue, clock: systemClock, log: silentLogger });
	t.after(() => log.close());
	return log;
}

logConformance("rabbitmq", {
	capabilities: BACKENDS.rabbitmq,
	skip,
	hasServer: true,
	async make(t) {
		const queue = `nexus-${queues++}`;
		return { server: rabbitmq.server, open: () => open(t, queue) };
	},
});

test("rabbitmq: nothing to connect to is an error that names no credentials", { skip }, async () => {
	const options = { url: "amqp://somebody:secret@127.0.0.1:1", queue: "q", clock: systemClock, log: silentLogger };
	await assert.rejects(openRabbitmqLog(options), (thrown: Error) => /ECONNREFUSED/.test(thrown.message) && !thrown.message.includes("secret"));
});
