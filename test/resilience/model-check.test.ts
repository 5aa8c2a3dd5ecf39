import assert from "node:assert/strict";
import { test } from "node:test";
import { checkModel, shrink, whole } from "./model-check.ts";

test("a failing sequence is made as small as it can be", () => {
	const operations = Array.from({ length: 100 }, (_, i) => i);
	assert.deepEqual(
		shrink(operations, (fewer) => fewer.includes(17) && fewer.includes(80)),
		[17, 80],
	);
});

test("a difference is told with its seed, its config and the operations that are left", () => {
	const check = {
		sequences: 50,
		seed: 7,
		config: () => ({ limit: 3 }),
		operations: (rng: () => number) => Array.from({ length: 20 }, () => whole(rng, 0, 9)),
		run: ({ limit }: { limit: number }, operations: readonly number[]) =>
			operations.filter((n) => n === 5).length >= limit ? "too many fives" : undefined,
	};
	assert.throws(() => checkModel(check), /seed \d+: too many fives\nconfig \{"limit":3\}\noperations \[5,5,5\]$/);
	assert.doesNotThrow(() => checkModel({ ...check, run: () => undefined }));
});
