import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Member } from "../../src/balance/arrange.ts";
import { type Arrangement, type BalancerOptions, buildBalancer } from "../../src/balance/build-balancer.ts";
import { buildPicker } from "../../src/balance/build-picker.ts";
import { GroupedPicker } from "../../src/balance/grouped-picker.ts";
import { PeakEwma } from "../../src/balance/peak-ewma.ts";
import { seededRng } from "../../src/core/rng.ts";
import { xxh64 } from "../../src/core/xxh64.ts";
import type { BalancingKind, BalancingPolicy } from "../../src/policy/snapshot.ts";
import { endpoint, type TestEndpoint } from "./support.ts";

type TestMember = TestEndpoint & { usable: boolean; zone: string | undefined; priority: number };

const POLICY: BalancingPolicy = {
	hashOn: undefined,
	ringSizeMin: 1024,
	tableSize: 1009,
	failurePenaltyMs: 5_000,
	slowStart: undefined,
	zoneAware: false,
	panicThreshold: 50,
};
const KINDS: readonly BalancingKind[] = ["round-robin", "least-connections", "weighted", "random", "peak-ewma", "ring-hash", "maglev"];

function member(name: string, change: Partial<TestMember> = {}): TestMember {
	return { ...endpoint(name), usable: true, zone: undefined, priority: 0, ...change };
}

function build(kind: BalancingKind, members: readonly TestMember[], options: Partial<BalancerOptions<TestMember>> = {}, policy = POLICY) {
	return buildBalancer(kind, policy, members, { ownZone: undefined, rng: seededRng(1), now: () => 0, ...options });
}

function shares({ picker }: Arrangement<TestMember>, picks = 20_000): Map<string, number> {
	const counts = new Map<string, number>();
	for (let i = 0; i < picks; i++) {
		const name = picker.pick()?.name ?? "none";
		counts.set(name, (counts.get(name) ?? 0) + 1 / picks);
	}
	return counts;
}

function assertShare(actual: number | undefined, expected: number): void {
	assert.ok(Math.abs((actual ?? 0) - expected) < 0.015, `${actual} instead of ${expected}`);
}

for (const kind of KINDS) {
	describe(`a balancer of ${kind}`, () => {
		it("uses what is usable, and says so in one group", () => {
			const { picker, panic, groups } = build(kind, [member("a"), member("b"), member("c", { usable: false })]);
			assert.deepEqual(groups, [{ priority: 0, zone: "any", share: 1, size: 2 }]);
			assert.equal(panic, false);
			for (let i = 0; i < 200; i++) assert.notEqual(picker.pick()?.name, "c");
		});

		it("uses all in a panic, and tells", () => {
			const balancer = build(kind, [member("a"), member("b", { usable: false }), member("c", { usable: false })]);
			assert.equal(balancer.panic, true);
			assert.deepEqual([...shares(balancer, 2_000).keys()].sort(), ["a", "b", "c"]);
		});

		it("gives nothing where nothing may be used", () => {
			const { picker, panic, groups } = build(kind, [member("a", { usable: false })], {}, { ...POLICY, panicThreshold: 0 });
			assert.equal(picker.pick(), undefined);
			assert.deepEqual([panic, groups], [false, []]);
			assert.equal(build(kind, []).picker.pick(), undefined);
		});

		it("splits the load between priorities as their health says", () => {
			const members = [member("a"), member("b", { usable: false }), member("c", { priority: 1 })];
			const balancer = build(kind, members);
			assert.deepEqual(
				balancer.groups.map(({ priority, share, size }) => [priority, share, size]),
				[
					[0, 0.7, 1],
					[1, 0.3, 1],
				],
			);
			assertShare(shares(balancer).get("a"), 0.7);
		});

		it("draws the priority by the hash where there is one: 69 leads to the first, 71 to the next", () => {
			const { picker } = build(kind, [member("a"), member("b", { usable: false }), member("c", { priority: 1 })]);
			assert.equal(picker.pick(undefined, { hi: 0, lo: 69 })?.name, "a");
			assert.equal(picker.pick(undefined, { hi: 0, lo: 71 })?.name, "c");
		});

		it("leaves a group for another one where it holds only the avoided endpoint", () => {
			const members = [member("a"), member("b", { usable: false }), member("c", { priority: 1 })];
			const { picker } = build(kind, members);
			for (let i = 0; i < 200; i++) {
				assert.equal(picker.pick(members[0])?.name, "c");
				assert.equal(picker.pick(members[2], xxh64(`${i}`))?.name, "a");
			}
		});

		it("stays at home in its own zone, and spills over when that is too small", () => {
			const members = [member("a", { zone: "a" }), member("b", { zone: "b" }), member("c", { zone: "b" })];
			const policy = { ...POLICY, zoneAware: true };
			assert.deepEqual([...shares(build(kind, members, { ownZone: "b" }, policy), 500).keys()].sort(), ["b", "c"]);
			const spilling = build(kind, members, { ownZone: "a" }, policy);
			assert.deepEqual(
				spilling.groups.map(({ zone, size }) => [zone, size]),
				[
					["local", 1],
					["other", 2],
				],
			);
			assertShare(shares(spilling).get("a"), 2 / 3);
		});
	});
}

describe("a balancer", () => {
	it("puts nothing in front of a single group's picker", () => {
		const members = [member("a"), member("b")];
		for (const kind of KINDS) {
			const alone = buildPicker(kind, members, seededRng(1), undefined, { ...POLICY, now: () => 0 });
			assert.equal(build(kind, members).picker.constructor, alone.constructor, kind);
			assert.ok(!(build(kind, members).picker instanceof GroupedPicker));
		}
	});

	it("lets turns go on when groups form and dissolve", () => {
		const [a, b, c] = [member("a"), member("b"), member("c")];
		const alone = build("round-robin", [a, b, c], { rng: () => 0 });
		assert.equal(alone.picker.pick()?.name, "a");
		const far = member("far", { priority: 1 });
		const grouped = build("round-robin", [a, b, c, member("x", { usable: false }), member("y", { usable: false }), far], {
			previous: alone,
			rng: () => 0,
		});
		assert.equal(grouped.groups.length, 2);
		assert.equal(grouped.picker.pick()?.name, "b");
		const again = build("round-robin", [a, b, c, far], { previous: grouped, rng: () => 0 });
		assert.deepEqual([again.picker.pick()?.name, again.picker.pick()?.name], ["c", "a"]);
	});

	it("weighs endpoints as it is told while they warm up, and refuses a weight that is none", () => {
		const members = [member("warm", { weight: 2 }), member("cold", { weight: 2 })];
		const weightOf = ({ name, weight }: TestMember) => (name === "cold" ? weight * 0.1 : weight);
		for (const kind of ["round-robin", "weighted", "random", "least-connections", "peak-ewma"] as const) {
			const counts = shares(build(kind, members, { weightOf }));
			// Those that compare loads draw by weight first, and at rest nothing else tells two apart.
			assertShare(counts.get("cold"), 1 / 11);
		}
		assert.throws(() => build("random", members, { weightOf: () => 0 }), RangeError);
	});

	it("hands its clock to the latencies", () => {
		const slow = member("slow", { latency: new PeakEwma(0) });
		const quick = member("quick", { latency: new PeakEwma(0) });
		slow.latency?.observe(1_000, 0);
		quick.latency?.observe(100, 0);
		let nowMs = 0;
		const { picker } = build("peak-ewma", [slow, quick], { now: () => nowMs });
		for (let i = 0; i < 50; i++) assert.equal(picker.pick(), quick);
		// A minute on, what was seen of the slow one has faded; the quick one has been seen just now.
		nowMs = 60_000;
		quick.latency?.observe(100, nowMs);
		for (let i = 0; i < 50; i++) assert.equal(picker.pick(), slow);
	});

	it("refuses tables that cannot be built", () => {
		const members = [member("a"), member("b")];
		assert.throws(() => build("maglev", members, {}, { ...POLICY, tableSize: 8 }), RangeError);
		assert.throws(() => build("ring-hash", members, {}, { ...POLICY, ringSizeMin: 0 }), RangeError);
	});
});

describe("a grouped picker", () => {
	it("draws its last group where rounding leaves a gap, and gives what it must where all is to be avoided", () => {
		const [a, b] = [member("a"), member("b")];
		const only = (one: Member) => ({ pick: () => one });
		const picker = new GroupedPicker<Member>([only(a), only(b)], [0.5, 0.4999], () => 0.99999);
		assert.equal(picker.pick(), b);
		assert.equal(new GroupedPicker<Member>([only(a), only(a)], [0.5, 0.5], () => 0.2).pick(a), a);
		assert.equal(picker.waits().size, 0);
	});
});
