/** The text of progress: what goes in comes out, and a full window fits the place that it has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { CURSOR_BYTES_MAX } from "../../../src/nexus/state/limits.ts";
import { ATTEMPTS_MAX, DELAY_MS_MAX, WINDOW_MAX } from "../../../src/nexus/subscriptions/limits.ts";
import { decodeProgress, encodeProgress, type OpenEvent } from "../../../src/nexus/subscriptions/progress.ts";

const NOW_MS = Date.UTC(2026, 0, 1);

test("progress comes back as it was, to the second", () => {
	const random = seededRng(7);
	for (let round = 0; round < 200; round++) {
		let sequence = 0;
		const open = Array.from({ length: Math.floor(random() * 50) }, (): OpenEvent => {
			sequence += 1 + Math.floor(random() ** 4 * 1e6);
			const isWaiting = random() < 0.3;
			return {
				sequence,
				attempts: Math.floor(random() * 12),
				waitMs: isWaiting ? 1000 * (1 + Math.floor(random() * 5000)) : 0,
			};
		});
		const progress = { life: 1 + Math.floor(random() * 2 ** 40), position: sequence + Math.floor(random() * 1000), atMs: NOW_MS, open };
		const text = JSON.parse(JSON.stringify(encodeProgress(progress))) as unknown;
		assert.deepEqual(decodeProgress(text), progress);
	}
});

test("the fullest window fits a cursor: far apart, tried often, waiting long", () => {
	const open = Array.from({ length: WINDOW_MAX }, (_, i) => ({
		sequence: (i + 1) * 1_000_000,
		attempts: ATTEMPTS_MAX,
		waitMs: DELAY_MS_MAX,
	}));
	const text = encodeProgress({ life: 2 ** 40, position: Number.MAX_SAFE_INTEGER, atMs: NOW_MS, open });
	assert.ok(Buffer.byteLength(JSON.stringify(text)) <= CURSOR_BYTES_MAX);
});

test("what is no progress is refused, not guessed", () => {
	const good = encodeProgress({ life: 1, position: 9, atMs: NOW_MS, open: [{ sequence: 9, attempts: 0, waitMs: 0 }] });
	assert.ok(decodeProgress(good) !== undefined);
	for (const bad of [
		undefined,
		7,
		{},
		{ ...good, position: 8 },
		{ ...good, position: -1 },
		{ ...good, open: "1,,2" },
		{ ...good, open: "1.2.3.4" },
		{ ...good, open: "-1" },
	]) {
		assert.equal(decodeProgress(bad), undefined, JSON.stringify(bad));
	}
});
