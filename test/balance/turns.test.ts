import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { buildPicker } from "../../src/balance/build-picker.ts";
import { sink } from "../../src/balance/due-heap.ts";
import { seededRng } from "../../src/core/rng.ts";
import { endpoint, endpointsOf, longestRun, type TestEndpoint, tally } from "./support.ts";

describe("round-robin over equal weights", () => {
	it("serves everyone once before anyone twice", () => {
		const endpoints = endpointsOf([4, 4, 4, 4, 4]);
		const picker = buildPicker("round-robin", endpoints, seededRng(1));
		for (let turn = 0; turn < 3; turn++) assert.equal(tally(picker, 5).size, 5);
	});

	it("starts at a random endpoint", () => {
		const endpoints = endpointsOf([1, 1, 1, 1]);
		const starts = new Set(Array.from({ length: 40 }, (_, seed) => buildPicker("round-robin", endpoints, seededRng(seed)).pick()));
		assert.equal(starts.size, 4);
	});

	it("goes on where its predecessor stopped, newcomers last", () => {
		const [a, b, c, d] = [endpoint("a"), endpoint("b"), endpoint("c"), endpoint("d")];
		const before = buildPicker("round-robin", [a, b, c], () => 0);
		assert.equal(before.pick(), a);
		const after = buildPicker("round-robin", [d, a, b, c], () => 0, before);
		assert.deepEqual(names(after, 5), ["b", "c", "a", "d", "b"]);
	});

	it("goes on with the next survivor when the one whose turn it is has left", () => {
		const [a, b, c] = [endpoint("a"), endpoint("b"), endpoint("c")];
		const before = buildPicker("round-robin", [a, b, c], () => 0);
		before.pick();
		assert.deepEqual(
			names(
				buildPicker("round-robin", [a, c], () => 0, before),
				3,
			),
			["c", "a", "c"],
		);
	});

	it("lets an avoided endpoint keep its turn", () => {
		const [a, b, c] = [endpoint("a"), endpoint("b"), endpoint("c")];
		const picker = buildPicker("round-robin", [a, b, c], () => 0);
		assert.equal(picker.pick(a), b);
		assert.deepEqual(names(picker, 2), ["a", "c"]);
	});

	it("alternates strictly between any two that stay, whoever else comes and goes", () => {
		const rng = seededRng(17);
		const stay = endpointsOf([1, 1, 1]);
		const counts = new Map(stay.map((e) => [e, 0]));
		let guests: TestEndpoint[] = [];
		let picker = buildPicker<TestEndpoint>("round-robin", stay, rng);
		for (let step = 0; step < 5_000; step++) {
			guests = rng() < 0.5 ? guests.slice(1) : [...guests, endpoint(`g${step}`)];
			const members = [...stay, ...guests].sort(() => rng() - 0.5);
			picker = buildPicker("round-robin", members, rng, picker);
			for (let i = Math.floor(rng() * 4); i > 0; i--) {
				const picked = picker.pick();
				if (picked !== undefined && counts.has(picked)) counts.set(picked, (counts.get(picked) ?? 0) + 1);
				const spread = [...counts.values()];
				assert.ok(Math.max(...spread) - Math.min(...spread) <= 1, `step ${step}: ${spread}`);
			}
		}
		assert.ok(Math.min(...counts.values()) > 100);
	});
});

describe("weighted", () => {
	it("gives each exactly its weight in every full turn", () => {
		const weights = [7, 3, 2, 1, 1];
		const endpoints = endpointsOf(weights);
		const picker = buildPicker("weighted", endpoints, seededRng(2));
		for (let turn = 0; turn < 20; turn++) {
			const counts = tally(picker, 14);
			assert.deepEqual(
				endpoints.map((e) => counts.get(e)),
				weights,
			);
		}
	});

	it("respects weights under the name round-robin as well", () => {
		const endpoints = endpointsOf([3, 1]);
		const counts = tally(buildPicker("round-robin", endpoints, seededRng(2)), 400);
		assert.deepEqual(
			endpoints.map((e) => counts.get(e)),
			[300, 100],
		);
	});

	it("sends a heavy endpoint no bursts: runs stay near what its weight makes necessary", () => {
		// The shortest possible longest run is ceil(heavy / others). Golden phases leave gaps of at most 1.62 times the mean
		// (three-distance theorem), and one pick more is granted for rounding.
		for (const [weights, unavoidable] of [
			[[5, 1, 1], 3],
			[[10, ...new Array(10).fill(1)], 1],
			[[1000, ...new Array(1000).fill(1)], 1],
			[[100, ...new Array(10).fill(1)], 10],
		] as const) {
			for (let seed = 0; seed < 10; seed++) {
				const run = longestRun(buildPicker("weighted", endpointsOf(weights), seededRng(seed)), 10_000);
				assert.ok(run <= Math.ceil(1.62 * unavoidable) + 1, `weights ${weights.slice(0, 3)}, ${weights.length} endpoints: a run of ${run}`);
			}
		}
	});

	it("keeps each share to within one pick of its weight at every moment, through changes of membership", () => {
		const rng = seededRng(23);
		const stay = endpointsOf([1, 3, 10]);
		const counts = new Map(stay.map((e) => [e, 0]));
		let guests: TestEndpoint[] = [];
		let picker = buildPicker<TestEndpoint>("weighted", stay, rng);
		for (let step = 0; step < 5_000; step++) {
			if (guests.length > 20 || rng() < 0.5) guests = guests.slice(1);
			else guests = [...guests, endpoint(`g${step}`, 1 + Math.floor(rng() * 10))];
			picker = buildPicker("weighted", [...guests, ...stay], rng, picker);
			for (let i = Math.floor(rng() * 6); i > 0; i--) {
				const picked = picker.pick();
				if (picked !== undefined && counts.has(picked)) counts.set(picked, (counts.get(picked) ?? 0) + 1);
			}
			for (const a of stay) {
				for (const b of stay) {
					const lead = (counts.get(a) ?? 0) / a.weight - (counts.get(b) ?? 0) / b.weight;
					assert.ok(lead <= 1 / a.weight + 1 / b.weight + 1e-6, `step ${step}: ${a.name} leads ${b.name} by ${lead}`);
				}
			}
		}
		assert.ok(Math.min(...counts.values()) > 100);
	});

	it("keeps turns when weights become unequal and equal again", () => {
		const [a, b, c] = [endpoint("a"), endpoint("b"), endpoint("c")];
		const ring = buildPicker("round-robin", [a, b, c], () => 0);
		ring.pick();
		c.weight = 2;
		const schedule = buildPicker("round-robin", [a, b, c], () => 0, ring);
		assert.equal(schedule.pick(), b);
		c.weight = 1;
		const ringAgain = buildPicker("round-robin", [a, b, c], () => 0, schedule);
		assert.deepEqual(names(ringAgain, 3), ["c", "a", "b"]);
	});

	it("repays an endpoint that was avoided for long with one pick, not with a burst", () => {
		const [heavy, light, other] = [endpoint("heavy", 3), endpoint("light", 2), endpoint("other", 1)];
		const picker = buildPicker("weighted", [heavy, light, other], seededRng(4));
		for (let i = 0; i < 1_000; i++) picker.pick(heavy);
		assert.equal(picker.pick(), heavy);
		assert.ok(longestRun(picker, 600) <= 2);
	});

	it("keeps its spread when virtual time starts afresh", () => {
		// Tiny weights reach the end of virtual time in a few picks.
		const endpoints = endpointsOf([3e-5, 1e-5]);
		const picker = buildPicker("weighted", endpoints, seededRng(6));
		for (let turn = 0; turn < 500; turn++) assert.equal(tally(picker, 4).get(endpoints[0] as TestEndpoint), 3);
	});

	it("touches a logarithmic number of due times per pick at 10,000 endpoints", () => {
		const size = 10_000;
		let reads = 0;
		const dueAt = Float64Array.from({ length: size }, (_, i) => i);
		const counted = new Proxy(dueAt, {
			get(target, key) {
				reads++;
				return Reflect.get(target, key, target);
			},
		});
		const heap = Uint32Array.from({ length: size }, (_, i) => i);
		const rng = seededRng(8);
		for (let i = 0; i < 1_000; i++) {
			const root = heap[0] as number;
			dueAt[root] = (dueAt[root] as number) + rng() * 2 * size;
			reads = 0;
			sink(heap, counted, 0);
			assert.ok(reads <= 3 * Math.ceil(Math.log2(size)) + 1, `${reads} reads`);
			assert.equal(dueAt[heap[0] as number], Math.min(...dueAt));
		}
	});
});

function names(picker: { pick(): TestEndpoint | undefined }, picks: number): (string | undefined)[] {
	return Array.from({ length: picks }, () => picker.pick()?.name);
}
