import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { fuzz } from "./fuzz.ts";
import { loadCorpus } from "./fuzz-corpus.ts";

const RUNS = 200_000;
/** Changed by hand from time to time; `npm run fuzz -- --seed N --runs N` goes further. */
const SEED = 20261121;

suite("200,000 mutated messages", () => {
	for (const [corpus, shared, runs] of [
		["of the built-in corpus", false, RUNS / 2],
		["of the shared corpus, where it is there", true, RUNS / 2],
	] as const) {
		test(`${corpus} never throw or stall, never depend on how they arrive, and are relayed as a strict reader understands them`, {
			timeout: 120_000,
		}, () => {
			const { failure, relayed, refused } = fuzz({ runs, seed: SEED, corpus: loadCorpus(shared) });
			if (failure !== undefined)
				assert.fail(
					`seed ${SEED}, run ${failure.run}: ${failure.property}\ncuts ${failure.cuts.join(" ")}\n${JSON.stringify(failure.input.toString("latin1"))}`,
				);
			assert.ok(relayed > runs / 5, `only ${relayed} of ${runs} inputs got through`);
			assert.ok(refused > runs / 10, `only ${refused} of ${runs} inputs were refused`);
		});
	}
});

test("the same seed makes the same run", () => {
	const corpus = loadCorpus(false);
	const tell = (seed: number): string => JSON.stringify(fuzz({ runs: 2000, seed, corpus }));
	assert.equal(tell(7), tell(7));
	assert.notEqual(tell(7), tell(8));
});
