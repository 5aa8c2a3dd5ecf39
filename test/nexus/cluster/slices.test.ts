/** How subscriptions are shared out: each in one slice, each slice with one node, and as little as possible moves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { SLICES, shareOf, sliceOf } from "../../../src/nexus/cluster/slices.ts";

const NODES_MAX = 40;

function namesOf(count: number, random: () => number): string[] {
	return Array.from({ length: count }, () => `node-${Math.floor(random() * 1e12).toString(36)}`);
}

test("a name is in one slice, the same in every process, and many names fill all slices alike", () => {
	const counts = new Array<number>(SLICES).fill(0);
	for (let n = 0; n < 16_000; n++) {
		const slice = sliceOf(`orders-${n}`);
		assert.ok(Number.isInteger(slice) && slice >= 0 && slice < SLICES);
		assert.equal(sliceOf(`orders-${n}`), slice);
		counts[slice] = (counts[slice] ?? 0) + 1;
	}
	for (const count of counts) assert.ok(count > 850 && count < 1150, `of 1000: ${counts}`);
	// Nodes of two versions agree on them: xxHash64 of the UTF-8 text, modulo 16.
	assert.deepEqual(["", "a", "orders", "bestellung-ä"].map(sliceOf), [9, 11, 5, 6]);
});

test("the shares of any nodes are all slices together, and none differs from another by more than one", () => {
	const random = seededRng(7);
	for (let round = 0; round < 500; round++) {
		const nodes = namesOf(1 + Math.floor(random() * NODES_MAX), random);
		const shares = nodes.map((node) => shareOf(node, nodes));
		assert.equal(
			shares.reduce((sum, share) => sum + share, 0),
			SLICES,
		);
		assert.ok(Math.max(...shares) - Math.min(...shares) <= 1, `${shares}`);
		const shuffled = [...nodes].sort(() => random() - 0.5);
		assert.deepEqual(
			nodes.map((node) => shareOf(node, shuffled)),
			shares,
			"whoever is asked, and in whatever order it has heard of the others",
		);
	}
});

test("who is none of the nodes has no share", () => {
	assert.deepEqual([shareOf("c", ["a", "b"]), shareOf("c", [])], [0, 0]);
});

test("a node that joins is given its share and nothing else moves; so it is, the other way round, with one that leaves", () => {
	const random = seededRng(11);
	for (let round = 0; round < 500; round++) {
		const nodes = namesOf(1 + Math.floor(random() * NODES_MAX), random);
		const [other = ""] = namesOf(1, random);
		const more = [...nodes, other];
		// Slices move from who has more than its share to who has less.
		const changes = nodes.map((node) => shareOf(node, more) - shareOf(node, nodes));
		assert.ok(
			changes.every((change) => change <= 0),
			`${changes}`,
		);
		assert.equal(
			changes.reduce((sum, change) => sum - change, 0),
			shareOf(other, more),
		);
	}
});
