/** The log on a real cluster of RabbitMQ: three members, killed one by one and all at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openRabbitmqLog } from "../../../src/nexus/log/rabbitmq-log.ts";
import { eventually } from "../../support/processes.ts";
import { skipWithoutRabbitmq, startRabbitmqCluster } from "./servers.ts";
import { batchOf, idOf, readAll } from "./support.ts";

test("rabbitmq: a cluster of three goes on without one of them, and has everything after all of them were killed", {
	skip: skipWithoutRabbitmq,
	timeout: 300_000,
}, async (t) => {
	const members = await startRabbitmqCluster(t, 3);
	const open = async (member: number): Promise<EventLog> => {
		const log = await openRabbitmqLog({ url: members[member]?.url ?? assert.fail(), queue: "q", clock: systemClock, log: silentLogger });
		t.after(() => log.close());
		return log;
	};
	const acknowledged: string[] = [];
	// As a producer does: again, until it is acknowledged.
	const send = async (log: EventLog): Promise<void> => {
		for (let i = 0; i < 10; i++) {
			const id = String(acknowledged.length);
			await eventually(`${id} is taken`, async () => (await log.append(batchOf([{ id }]))).ok);
			acknowledged.push(id);
		}
	};
	const [first, second] = [await open(0), await open(1)];
	await send(first);
	await send(second);
	// The one that keeps the turns, and the home of what is on one member only.
	await members[0]?.server.kill();
	await send(second);
	// The other keeps them now, and vouches that the stream is whole.
	const third = await open(2);
	await send(third);
	await members[0]?.server.start();
	await send(first);
	await Promise.all(members.map(({ server }) => server.kill()));
	await Promise.all(members.map(({ server }) => server.start()));
	for (const log of [first, second, third]) await send(log);
	for (const log of [first, second, third]) {
		const last = acknowledged.length;
		await eventually("all can be read", async () => (await readAll(log)).length >= last);
		assert.deepEqual((await readAll(log)).map(idOf), acknowledged);
	}
});
