import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { buildPicker } from "../../src/balance/build-picker.ts";
import type { Picker } from "../../src/balance/picker.ts";
import { seededRng } from "../../src/core/rng.ts";
import type { BalancingKind } from "../../src/policy/snapshot.ts";
import { endpoint, endpointsOf, type TestEndpoint, tally, worstShareError } from "./support.ts";

const KINDS: readonly BalancingKind[] = ["round-robin", "least-connections", "weighted", "random", "peak-ewma", "ring-hash", "maglev"];
const WEIGHT_SETS: readonly (readonly number[])[] = [
	[1, 1, 1],
	[5, 1, 1],
	[1000, 1],
	[1, 2, 3, 4, 5, 6, 7, 8],
	Array.from({ length: 100 }, (_, i) => 1 + (i % 10)),
	[1000, ...Array.from({ length: 99 }, () => 1)],
	Array.from({ length: 50 }, () => 3),
];

for (const kind of KINDS) {
	describe(kind, () => {
		it("gives nothing when there is no endpoint", () => {
			assert.equal(buildPicker<TestEndpoint>(kind, [], seededRng(1)).pick(), undefined);
		});

		it("gives the only endpoint, even where it is to be avoided", () => {
			const only = endpoint("only");
			const picker = buildPicker(kind, [only], seededRng(1));
			assert.equal(picker.pick(), only);
			assert.equal(picker.pick(only), only);
		});

		it("spreads 100,000 picks within 1 % of the weights", () => {
			for (const weights of WEIGHT_SETS) {
				const endpoints = endpointsOf(weights);
				const error = worstShareError(endpoints, tally(buildPicker(kind, endpoints, seededRng(7)), 100_000));
				assert.ok(error <= 0.01, `weights ${weights}: off by ${error}`);
			}
		});

		it("reaches every endpoint of 10,000", () => {
			const endpoints = endpointsOf(Array.from({ length: 10_000 }, (_, i) => 1 + (i % 3)));
			assert.equal(tally(buildPicker(kind, endpoints, seededRng(3)), 300_000).size, 10_000);
		});

		it("never gives the avoided endpoint while another exists", () => {
			for (const weights of [
				[1, 1],
				[1000, 1],
				[1, 1000],
				[3, 1, 1],
				[5, 4, 3, 2, 1, 1, 1, 1, 1],
				new Array(20).fill(1),
				[1000, ...new Array(20).fill(1)],
			]) {
				const endpoints = endpointsOf(weights);
				const picker = buildPicker(kind, endpoints, seededRng(11));
				for (const avoided of endpoints) {
					for (let i = 0; i < 300; i++) assert.notEqual(picker.pick(avoided), avoided);
				}
			}
		});

		it("ignores an avoided endpoint that is not a member", () => {
			const endpoints = endpointsOf([2, 1, 1]);
			const picker = buildPicker(kind, endpoints, seededRng(5));
			const stranger = endpoint("stranger");
			for (let i = 0; i < 50; i++) assert.ok(endpoints.includes(picker.pick(stranger) as TestEndpoint));
		});

		it("gives the same sequence for the same seed", () => {
			const endpoints = endpointsOf([3, 1, 2, 7, 1, 1, 1, 1, 1, 1]);
			const sequence = () => {
				const picker = buildPicker(kind, endpoints, seededRng(42));
				return Array.from({ length: 200 }, () => picker.pick()?.name);
			};
			assert.deepEqual(sequence(), sequence());
		});

		it("is untouched when its caller changes the list afterwards", () => {
			const endpoints = endpointsOf([1, 2, 3]);
			const list = [...endpoints];
			const picker = buildPicker(kind, list, seededRng(1));
			list.length = 0;
			for (let i = 0; i < 20; i++) assert.ok(endpoints.includes(picker.pick() as TestEndpoint));
		});

		it("refuses a weight that is not positive and finite", () => {
			for (const weight of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
				assert.throws(() => buildPicker(kind, endpointsOf([1, weight]), seededRng(1)), RangeError);
			}
		});

		it("holds its promises through 2,000 seeded changes of membership", () => {
			const rng = seededRng(99);
			const small = { ringSizeMin: 16, tableSize: 101, now: () => 0 };
			let members = endpointsOf([1, 2, 3]);
			let picker: Picker<TestEndpoint> | undefined;
			for (let step = 0; step < 2_000; step++) {
				if (members.length > 0 && rng() < 0.5) members = members.filter((_, i) => i !== Math.floor(rng() * members.length));
				else members = [...members, endpoint(`n${step}`, 1 + Math.floor(rng() * 4))];
				picker = buildPicker(KINDS[Math.floor(rng() * KINDS.length)] ?? kind, members, rng, picker, small);
				picker = buildPicker(kind, members, rng, picker, small);
				for (let i = 0; i < 5; i++) {
					const avoid = rng() < 0.3 ? members[Math.floor(rng() * members.length)] : undefined;
					const picked: TestEndpoint | undefined = picker.pick(avoid);
					if (members.length === 0) assert.equal(picked, undefined);
					else assert.ok(picked !== undefined && members.includes(picked));
					if (members.length > 1) assert.notEqual(picked, avoid ?? null);
				}
			}
		});
	});
}
