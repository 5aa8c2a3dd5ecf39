/** What a roll-out is judged by: the exact test against known values, and verdicts on traffic that is worse, alike, or too little. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { LATENCY_BOUNDS_S } from "../../../src/metrics/histogram.ts";
import { chanceOfSoMany } from "../../../src/nexus/policy/exact-test.ts";
import { type Comparison, judge } from "../../../src/nexus/policy/rollout-judge.ts";
import { Tally } from "../../../src/nexus/policy/traffic-tally.ts";

describe("Fisher's exact test", () => {
	test("gives the values of the literature and of counting by hand", () => {
		// The lady tasting tea: all four of four.
		assert.ok(Math.abs(chanceOfSoMany(4, 4, 0, 4) - 1 / 70) < 1e-12);
		assert.ok(Math.abs(chanceOfSoMany(3, 4, 1, 4) - 17 / 70) < 1e-12);
		assert.ok(Math.abs(chanceOfSoMany(1, 10, 0, 10) - 0.5) < 1e-12);
		assert.equal(chanceOfSoMany(0, 10, 3, 10), 1);
		// C(1090,0..) by logarithms: 5 of 100 against 0 of 1,000.
		const byHand = [0, 1, 2, 3, 4].reduce((product, i) => (product * (100 - i)) / (1100 - i), 1);
		assert.ok(Math.abs(chanceOfSoMany(5, 100, 0, 1000) / byHand - 1) < 1e-6);
	});

	test("is certain at both ends, however far out, and takes no longer there", () => {
		assert.equal(chanceOfSoMany(1, 3_000, 3_000, 6_000), 1);
		assert.equal(chanceOfSoMany(2_999, 3_000, 3_000, 6_000), 0);
		// As many steps would take hours.
		assert.equal(chanceOfSoMany(5e14, 1e15, 1e15, 8e15), 0);
	});

	test("stays a probability for numbers of any size", () => {
		for (const [a, n, b, m] of [
			[1e6, 1e6, 0, 1e6],
			[500_000, 1e6, 500_000, 1e6],
			[0, 1, 0, 1],
			[7, 7, 7, 7],
		] as const) {
			const chance = chanceOfSoMany(a, n, b, m);
			assert.ok(chance >= 0 && chance <= 1 + 1e-9, `${a} of ${n}, ${b} of ${m}: ${chance}`);
		}
	});
});

/** `seconds` windows of `each` requests: `failed` of them fail, the others take `ms`. */
function traffic(tally: Tally, { seconds = 10, each = 20, failed = 0, refused = 0, ms = 2, slow = 0, slowMs = 500, instance = "a" }): Tally {
	for (let second = 0; second < seconds; second++) {
		const add = (outcome: string, count: number, latencyMs: number): void => {
			if (count > 0) tally.add({ instance, second, outcome, count, latencies: latencies(count, latencyMs) });
		};
		add("2xx", each - failed - refused - slow, ms);
		add("2xx", slow, slowMs);
		add("connect_refused", failed, ms);
		add("4xx", refused, ms);
	}
	return tally;
}

function latencies(count: number, ms: number): number[] {
	const counts = new Array<number>(LATENCY_BOUNDS_S.length + 1).fill(0);
	const at = LATENCY_BOUNDS_S.findIndex((bound) => ms <= bound * 1000);
	counts[at === -1 ? LATENCY_BOUNDS_S.length : at] = count;
	return counts;
}

function compared(staged: object, others: object, before: object | undefined = { seconds: 30 }): Comparison[] {
	return [
		{
			direction: "outbound",
			staged: traffic(new Tally(), staged),
			others: traffic(new Tally(), others),
			before: before === undefined ? new Tally() : traffic(new Tally(), before),
		},
	];
}

function words(comparisons: Comparison[]): string {
	const verdict = judge(comparisons, 100);
	return verdict.kind === "fine" ? "fine" : `${verdict.kind}: ${verdict.words}`;
}

describe("a stage of a roll-out", () => {
	test("is fine where its instances do as the others, and where they do better", () => {
		assert.equal(words(compared({}, {})), "fine");
		assert.equal(words(compared({ failed: 1 }, { failed: 1 })), "fine");
		assert.equal(words(compared({}, { failed: 10 })), "fine");
	});

	test("is worse where they fail, answer 4xx, or are slow in the middle or at the end", () => {
		assert.equal(words(compared({ failed: 5 }, {})), "worse: outbound: 25 % of 200 requests with it fail, and 0.0 % of 200 without");
		assert.match(words(compared({ refused: 5 }, {})), /^worse: .* are answered with 4xx/);
		assert.match(words(compared({ ms: 40 }, {})), /^worse: .* take longer than 5 ms/);
		assert.match(words(compared({ slow: 3 }, {})), /^worse: .*15 % of 200 requests with it take longer than 5 ms/);
	});

	test("is not worse for a shift across one bound, nor below what a machine's noise is", () => {
		assert.equal(words(compared({ ms: 10.1 }, { ms: 9.9 })), "fine");
		assert.equal(words(compared({ ms: 4 }, { ms: 0.4 })), "fine");
	});

	test("is not worse for a moment that was bad", () => {
		const [comparison] = compared({ seconds: 20 }, { seconds: 20 });
		assert.ok(comparison !== undefined);
		traffic(comparison.staged, { seconds: 1, each: 60, failed: 60, instance: "b" });
		assert.equal(words([comparison]), "fine");
	});

	test("is not worse where the instance was no better before", () => {
		assert.equal(words(compared({ failed: 5 }, {}, { seconds: 30, failed: 5 })), "fine");
		assert.match(words(compared({ failed: 5 }, {}, undefined)), /^worse/);
	});

	test("is judged by what was before where nobody calls the others", () => {
		assert.equal(words(compared({ failed: 20 }, { seconds: 0 })), "worse: outbound: 100 % of 200 requests with it fail, and 0.0 % of 600 before");
		assert.match(words(compared({}, { seconds: 0 })), /^unsure/);
		assert.match(words(compared({ failed: 20 }, { seconds: 0 }, { seconds: 30, failed: 20 })), /^unsure/);
		assert.match(words(compared({ failed: 20 }, { seconds: 0 }, { seconds: 0 })), /^unsure/);
	});

	test("is suspect, and not fine, while it looks worse and that may still be chance", () => {
		assert.match(words(compared({ seconds: 3, each: 50, failed: 50 }, { seconds: 3, each: 50 })), /^suspect: outbound: 100 % of 150/);
		assert.equal(words(compared({ seconds: 3, each: 50, failed: 1 }, { seconds: 3, each: 50 })), "fine");
	});

	test("cannot be judged by a few requests", () => {
		assert.equal(words(compared({ seconds: 1, each: 10, failed: 10 }, {})), "unsure: 10 requests with it and 200 without, of 100 each");
		assert.match(words(compared({}, { seconds: 0 })), /^unsure/);
	});

	test("is called worse by chance in none of 500 roll-outs that change nothing, looked at every second", () => {
		const rng = seededRng(7);
		let alarms = 0;
		for (let run = 0; run < 500; run++) {
			const [comparison] = compared({ seconds: 0 }, { seconds: 0 }, { seconds: 0 });
			assert.ok(comparison !== undefined);
			for (let second = 0; second < 60; second++) {
				for (const [tally, each] of [
					[comparison.staged, 10],
					[comparison.others, 50],
				] as const) {
					let failed = 0;
					for (let i = 0; i < each; i++) if (rng() < 0.05) failed++;
					if (failed > 0) tally.add({ instance: "a", second, outcome: "5xx", count: failed, latencies: latencies(failed, 3) });
					tally.add({ instance: "a", second, outcome: "2xx", count: each - failed, latencies: latencies(each - failed, rng() < 0.1 ? 30 : 3) });
				}
				if (judge([comparison], 100).kind === "worse") {
					alarms++;
					break;
				}
			}
		}
		assert.equal(alarms, 0);
	});
});
