import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import { normalTarget } from "../../../src/policy/path-normal.ts";
import { id, policy, type RuleSpec, request } from "./support.ts";

// The engine counts what it allocates in pieces of up to half a megabyte: over so many runs one piece is less than a byte per run.
const RUNS = 1_000_000;

// The smallest object there is takes 12 bytes, so that less than a third of it per run is none.
const NOTHING = 4;

// On a busy machine the optimized code comes late.
const ROUNDS_MAX = 40;

/** Counts up, whatever is collected meanwhile. */
function allocatedBytes(): number {
	return Number((getHeapStatistics() as unknown as Record<string, unknown>).total_allocated_bytes);
}

/** Bytes per run, once the engine knows the code: the least of several times, as it compiles on the side. */
function bytesPerRun(run: () => unknown): number {
	let least = Number.POSITIVE_INFINITY;
	for (let round = 0; round < ROUNDS_MAX && least >= NOTHING; round++) {
		const before = allocatedBytes();
		for (let i = 0; i < RUNS; i++) run();
		least = Math.min(least, (allocatedBytes() - before) / RUNS);
	}
	return least;
}

const skip = Number.isNaN(allocatedBytes()) && "this Node does not count what it allocates";

test("the measure sees one small object per run", { skip }, () => {
	const kept: unknown[] = [undefined];
	assert.ok(bytesPerRun(() => (kept[0] = { kept: kept.length })) >= 12);
});

test("a decision allocates nothing", { skip }, () => {
	const specs = Array.from({ length: 1_000 }, (_, i): RuleSpec => {
		if (i % 10 === 0) return { action: "deny", paths: [`/admin${i}/**`] };
		return i === 501
			? { from: ["front*"], paths: ["/api/orders/**"], headers: { "x-tenant": "acme" } }
			: { from: ["frontend"], paths: [`/api/r${i}/*`] };
	});
	const rules = new Authorizer(policy(specs), "mesh.local").meet(id("frontend"));
	const plain = request("GET", "/api/orders/1234");
	const subject = { ...plain, headerLine: (_name: string, index: number) => (index === 0 ? "acme" : undefined), aliasLine: () => undefined };
	const other = { ...subject, path: "/api/none/1234" };
	assert.equal(rules.decide(subject).allowed, true);
	assert.equal(rules.decide(other).allowed, false);
	assert.ok(bytesPerRun(() => rules.decide(subject)) < NOTHING);
	assert.ok(bytesPerRun(() => rules.decide(other)) < NOTHING);
});

test("a path that is normal already costs no copy", { skip }, () => {
	assert.ok(bytesPerRun(() => normalTarget("/api/orders/1234?page=2")) < NOTHING);
});
