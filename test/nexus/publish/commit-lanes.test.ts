/** The queues before the log: who waits, and who goes first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AppendBatch, AppendOutcome, EventLog } from "../../../src/nexus/log/event-log.ts";
import { CommitLanes } from "../../../src/nexus/publish/commit-lanes.ts";

const BATCH: AppendBatch = { bytes: Buffer.alloc(0), events: [] };

/** A log that settles when it is told to; it shows the order in which it was asked. */
function heldLog() {
	const asked: AppendBatch[] = [];
	const settlers: PromiseWithResolvers<AppendOutcome>[] = [];
	const log = {
		append(batch: AppendBatch) {
			asked.push(batch);
			const settler = Promise.withResolvers<AppendOutcome>();
			settlers.push(settler);
			return settler.promise;
		},
	} as unknown as EventLog;
	return { log, asked, settlers };
}

const done: AppendOutcome = { ok: true, accepted: 1, duplicates: 0, sequence: 1, durability: "disk" };
const batch = (): AppendBatch => ({ ...BATCH });

test("an idle log is asked at once, whatever comes", () => {
	const { log, asked } = heldLog();
	const lanes = new CommitLanes(log, 100);
	void lanes.append(BATCH, 60, false);
	void lanes.append(BATCH, 60, true);
	assert.equal(asked.length, 2);
	assert.equal(lanes.waiting, 0);
});

test("behind a busy log urgent events overtake others, and keep their own order", async () => {
	const { log, asked, settlers } = heldLog();
	const lanes = new CommitLanes(log, 100);
	const [first, rollup1, rollup2, urgent1, urgent2] = [batch(), batch(), batch(), batch(), batch()];
	void lanes.append(first, 100, false);
	const outcomes = [
		lanes.append(rollup1, 60, false),
		lanes.append(rollup2, 60, false),
		lanes.append(urgent1, 60, true),
		lanes.append(urgent2, 60, true),
	];
	assert.equal(lanes.waiting, 4);
	settlers[0]?.resolve(done);
	await settlers[0]?.promise;
	assert.deepEqual(asked.slice(1), [urgent1, urgent2]);
	// Nothing that came later goes past those that wait.
	const late = batch();
	void lanes.append(late, 10, false);
	assert.equal(asked.length, 3);
	settlers[1]?.resolve(done);
	settlers[2]?.reject(new Error("a fault of ours"));
	await assert.rejects(outcomes[3] as Promise<AppendOutcome>, /a fault of ours/);
	assert.deepEqual(await outcomes[2], done);
	assert.deepEqual(asked.slice(3), [rollup1, rollup2]);
	settlers[3]?.resolve(done);
	await outcomes[0];
	assert.equal(asked[5], late);
});
