/** Answers of one moment in one message, each told its fate. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AnswerBatcher } from "../../src/client/answer-batcher.ts";
import type { AnswerReport, Answers } from "../../src/client/subscription-shapes.ts";

function batcher(inFlightMax: number) {
	const sent: { answers: Answers; settle: (report: AnswerReport) => void; fail: (cause: unknown) => void }[] = [];
	const answers = new AnswerBatcher((batch) => new Promise<AnswerReport>((settle, fail) => sent.push({ answers: batch, settle, fail })), inFlightMax);
	return { sent, answers };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("answers of one moment go together by kind; what is unknown to Nexus, and what fails, is told as not kept", async () => {
	const { sent, answers } = batcher(4);
	const fates = [
		answers.add({ kind: "ack", token: "a" }),
		answers.add({ kind: "nak", token: "b", delay: "5ms", reason: "later" }),
		answers.add({ kind: "term", token: "c" }),
		answers.add({ kind: "progress", token: "d" }),
		answers.add({ kind: "ack", token: "e" }),
	];
	await turn();
	assert.deepEqual(
		sent.map((each) => each.answers),
		[{ ack: ["a", "e"], progress: ["d"], nak: [{ token: "b", delay: "5ms", reason: "later" }], term: [{ token: "c" }] }],
	);
	sent[0]?.settle({ settled: 4, unknown: ["e"] });
	assert.deepEqual(await Promise.all(fates), [true, true, true, true, false]);
	const lost = answers.add({ kind: "ack", token: "f" });
	await turn();
	sent[1]?.fail(new Error("gone"));
	assert.equal(await lost, false);
	await answers.idle();
});

test("messages have bounds in answers and bytes, and no more are under way than may be", async () => {
	const { sent, answers } = batcher(2);
	const count = 2_500;
	const acks = Array.from({ length: count }, (_, i) => answers.add({ kind: "ack", token: `t${i}` }));
	const naks = Array.from({ length: 100 }, (_, i) => answers.add({ kind: "nak", token: `n${i}`, reason: "ä".repeat(1_000) }));
	let isIdle = false;
	const idle = answers.idle().then(() => {
		isIdle = true;
	});
	for (let i = 0; i < sent.length || i === 0; i++) {
		await turn();
		assert.ok(sent.length - i <= 2, `${sent.length - i} under way`);
		assert.ok(!isIdle);
		const { ack = [], nak = [] } = sent[i]?.answers ?? {};
		assert.ok(ack.length + nak.length <= 1_000);
		assert.ok(Buffer.byteLength(JSON.stringify(sent[i]?.answers)) < 64 * 1024, "Nexus takes no more");
		sent[i]?.settle({ settled: 0, unknown: [] });
		await turn();
	}
	await idle;
	assert.deepEqual(new Set(await Promise.all([...acks, ...naks])), new Set([true]));
	assert.deepEqual(
		sent.flatMap((each) => each.answers.ack ?? []),
		Array.from({ length: count }, (_, i) => `t${i}`),
	);
});
