/** Progress is written down while there is some, and by nobody once it is closed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProgressSaver } from "../../../src/nexus/subscriptions/progress-saver.ts";
import { FakeClock } from "../../support/fake-clock.ts";

interface House {
	readonly saver: ProgressSaver;
	readonly written: string[];
	/** What there is to write. */
	progress: string;
	/** Answers the oldest write that waits. */
	answer(isKept: boolean): void;
}

function house(): House {
	const waiting: PromiseWithResolvers<boolean>[] = [];
	const written: string[] = [];
	const made: House = {
		written,
		progress: "as it is",
		answer: (isKept) => waiting.shift()?.resolve(isKept),
		saver: new ProgressSaver(new FakeClock(), () => {
			written.push(made.progress);
			const write = Promise.withResolvers<boolean>();
			waiting.push(write);
			return write.promise;
		}),
	};
	return made;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a change that comes while it closes is kept before it is closed", async () => {
	const { saver, written, answer } = house();
	saver.touch();
	let isClosed = false;
	const closing = saver.close().then(() => (isClosed = true));
	saver.touch();
	const kept = saver.flush();
	answer(true);
	await turn();
	assert.equal(isClosed, false);
	answer(true);
	await closing;
	assert.equal(await kept, true);
	assert.deepEqual(written, ["as it is", "as it is"]);
});

for (const isKept of [true, false]) {
	test(`once it is closed, its last write ${isKept ? "kept" : "refused"}, who waits for a change is told that it is not kept, and nothing is written`, async () => {
		const made = house();
		const { saver, written, answer } = made;
		saver.touch();
		const closing = saver.close();
		answer(isKept);
		await closing;
		made.progress = "of nothing";
		saver.touch();
		assert.equal(await saver.flush(), false);
		assert.deepEqual(written, ["as it is"]);
	});
}
