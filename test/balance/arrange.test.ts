import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ArrangeOptions, arrange, type Member } from "../../src/balance/arrange.ts";
import { endpoint } from "./support.ts";

const PLAIN: ArrangeOptions = { ownZone: undefined, zoneAware: false, panicThreshold: 50 };
const IN_A: ArrangeOptions = { ownZone: "a", zoneAware: true, panicThreshold: 50 };

describe("priorities", () => {
	it("give each level what it bears at 1.4 times its health, as Envoy's tables say", () => {
		// Percent of usable endpoints in P0 and P1 -> percent of the load, `!` for panic. From Envoy's pages on priority levels and
		// panic; its code gives what rounding leaves to the first level, so the last row has 8 and 92 where the page has 7 and 93.
		for (const [p0, p1, load] of [
			[100, 100, "100 0"],
			[72, 100, "100 0"],
			[71, 100, "99 1"],
			[50, 100, "70 30"],
			[25, 100, "35 65"],
			[0, 100, "0 100"],
			[72, 72, "100 0"],
			[71, 71, "99 1"],
			[50, 60, "70 30"],
			[25, 25, "50! 50!"],
			[5, 65, "8! 92"],
		] as const) {
			assert.equal(loads([...level(0, p0, 100), ...level(1, p1, 100)], 2), load, `${p0} % and ${p1} % usable`);
		}
	});

	it("send 70 % to the first level where one of its two is usable, the rest to the next", () => {
		assert.equal(loads([...level(0, 1, 2), ...level(1, 1, 1)], 2), "70 30");
	});

	it("use all endpoints alike where none is usable anywhere", () => {
		const groups = arrange([...level(0, 0, 3), ...level(1, 0, 1)], PLAIN);
		assert.deepEqual(
			groups.map(({ share, panic, members }) => [share, panic, members.length]),
			[
				[0.75, true, 3],
				[0.25, true, 1],
			],
		);
	});

	it("go by their order, not by their numbers", () => {
		const groups = arrange([...level(7, 1, 1), ...level(3, 0, 1)], PLAIN);
		assert.deepEqual(
			groups.map(({ priority, share }) => [priority, share]),
			[[7, 1]],
		);
	});

	it("leave no part of the load to nobody, whatever is usable", () => {
		for (let a = 0; a <= 6; a++) {
			for (let b = 0; b <= 6; b++) {
				for (let c = 0; c <= 6; c++) {
					const groups = arrange([...level(0, a, 6), ...level(1, b, 6), ...level(2, c, 6)], PLAIN);
					assert.ok(Math.abs(groups.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9, `${a} ${b} ${c}`);
					for (const { share, members } of groups) assert.ok(share > 0 && members.length > 0, `${a} ${b} ${c}`);
				}
			}
		}
	});
});

describe("panic", () => {
	it("begins below the threshold, not at it, and then uses all", () => {
		for (const [usable, size, panic] of [
			[5, 5, false],
			[4, 10, true],
			[0, 10, true],
		] as const) {
			const [group] = arrange(level(0, usable, 10), PLAIN);
			assert.deepEqual([group?.members.length, group?.panic], [size, panic], `${usable} of 10`);
		}
	});

	it("never begins where the threshold is 0: without a usable endpoint there is no group", () => {
		assert.deepEqual(arrange(level(0, 0, 3), { ...PLAIN, panicThreshold: 0 }), []);
		assert.equal(arrange(level(0, 1, 10), { ...PLAIN, panicThreshold: 0 })[0]?.members.length, 1);
	});

	it("has nothing to use where there is no endpoint at all", () => {
		assert.deepEqual(arrange([], PLAIN), []);
	});
});

describe("zones", () => {
	it("keep the load at home while the own zone has its fair part of what is usable", () => {
		assert.deepEqual(zones([...inZone("a", 3), ...inZone("b", 3), ...inZone("c", 3)]), [["local", 1, 3]]);
		assert.deepEqual(zones([...inZone("a", 5), ...inZone("b", 1)]), [["local", 1, 5]]);
	});

	it("spill over what the own zone cannot bear, to zones with more than they need", () => {
		// A fair part of six is two. Of a's load of two half stays; b has one to spare, c none.
		assert.deepEqual(zones([...inZone("a", 1), ...inZone("b", 3), ...inZone("c", 2)]), [
			["local", 0.5, 1],
			["other", 0.5, 3],
		]);
	});

	it("spill over as endpoints fail: eight of nine left, two of them here", () => {
		const members = [...inZone("a", 3), ...inZone("b", 3), ...inZone("c", 3)];
		const failed = members.map((member, i) => (i === 0 ? { ...member, usable: false } : member));
		assert.deepEqual(zones(failed), [
			["local", 0.75, 2],
			["other", 0.125, 3],
			["other", 0.125, 3],
		]);
	});

	it("go elsewhere altogether when the own zone is down, and still serve the callers of a dead zone", () => {
		const dead = (zone: string, size: number) => inZone(zone, size).map((member) => ({ ...member, usable: false }));
		assert.deepEqual(zones([...dead("a", 2), ...inZone("b", 2), ...inZone("c", 2)]), [
			["other", 0.5, 2],
			["other", 0.5, 2],
		]);
		assert.deepEqual(zones([...inZone("a", 2), ...dead("b", 2), ...inZone("c", 2)]), [["local", 1, 2]]);
	});

	it("measure capacity in weights, and take endpoints without a zone as spare", () => {
		const [light, heavy] = [...inZone("a", 1), ...inZone("b", 1)].map((member, i) => ({ ...member, weight: i === 0 ? 1 : 3 }));
		assert.deepEqual(zones([light as Member, heavy as Member]), [
			["local", 0.5, 1],
			["other", 0.5, 1],
		]);
		assert.deepEqual(zones([...inZone("a", 1), ...inZone(undefined, 1)]), [
			["local", 0.5, 1],
			["other", 0.5, 1],
		]);
	});

	it("load every endpoint alike where each zone's sidecar follows the same shares", () => {
		for (const sizes of [
			[3, 3, 3],
			[1, 3, 2],
			[1, 1, 7],
			[4, 1, 4],
		]) {
			const members = ["a", "b", "c"].flatMap((zone, i) => inZone(zone, sizes[i] ?? 0));
			const load = new Map<Member, number>(members.map((member) => [member, 0]));
			for (const ownZone of ["a", "b", "c"]) {
				for (const group of arrange(members, { ...IN_A, ownZone }))
					for (const member of group.members) load.set(member, (load.get(member) ?? 0) + group.share / group.members.length);
			}
			for (const part of load.values()) assert.ok(Math.abs(part - 3 / members.length) < 1e-9, `${sizes}: ${part}`);
		}
	});

	it("play no part where they are not asked for, not known, not there, or in a panic", () => {
		const members = [...inZone("a", 1), ...inZone("b", 3)];
		for (const options of [
			{ ...IN_A, zoneAware: false },
			{ ...IN_A, ownZone: undefined },
			{ ...IN_A, ownZone: "elsewhere" },
		]) {
			assert.deepEqual(zones(members, options), [["any", 1, 4]]);
		}
		assert.deepEqual(zones(members.map((member, i) => ({ ...member, usable: i === 0 }))), [["any", 1, 4]]);
	});

	it("act within each priority", () => {
		const members = [...inZone("a", 2), ...inZone("b", 2)].map((member, i) => ({ ...member, usable: i === 0 || i === 2 }));
		const second = inZone("b", 1).map((member) => ({ ...member, priority: 1 }));
		assert.deepEqual(zones([...members, ...second]), [
			["local", 0.7, 1],
			["any", 0.3, 1],
		]);
	});
});

function member(name: string, change: Partial<Member>): Member {
	return { ...endpoint(name), usable: true, zone: undefined, priority: 0, ...change };
}

function level(priority: number, usable: number, size: number): Member[] {
	return Array.from({ length: size }, (_, i) => member(`p${priority}-${i}`, { priority, usable: i < usable }));
}

function inZone(zone: string | undefined, size: number): Member[] {
	return Array.from({ length: size }, (_, i) => member(`${zone}-${i}`, { zone }));
}

/** Percent of each level, with `!` where it panics. */
function loads(members: readonly Member[], levels: number): string {
	const groups = arrange(members, PLAIN);
	return Array.from({ length: levels }, (_, priority) => {
		const group = groups.find((g) => g.priority === priority);
		return `${Math.round((group?.share ?? 0) * 100)}${group?.panic === true ? "!" : ""}`;
	}).join(" ");
}

function zones(members: readonly Member[], options = IN_A): [string, number, number][] {
	return arrange(members, options).map((group) => [group.zone, Math.round(group.share * 1e9) / 1e9, group.members.length]);
}
