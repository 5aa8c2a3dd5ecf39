import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import type { BalancingKind } from "../../src/policy/snapshot.ts";
import { allRows, PAGE, type PhaseName, type Row, table, withTable } from "./simulation.ts";

describe("ten endpoints, one of them in trouble", () => {
	const rows = allRows();
	const row = (kind: BalancingKind, phase: PhaseName): Row => {
		const found = rows.find((r) => r.kind === kind && r.phase === phase);
		assert.ok(found);
		return found;
	};
	const fair = 0.1;

	it("while all are well everybody gets a fair share from every balancer", (t) => {
		t.diagnostic(`\n${table(rows)}`);
		for (const { phase, share, kind } of rows) if (phase === "well") assert.ok(Math.abs(share - fair) < 0.02, `${kind}: ${share}`);
	});

	it("peak-ewma gives one that is 10 x slower less than a twentieth of its turn, and keeps the p99 near that of health", () => {
		const slow = row("peak-ewma", "10 x slower");
		assert.ok(slow.share < fair / 20, `${slow.share}`);
		assert.ok(slow.p99Ms < 1.2 * row("peak-ewma", "well").p99Ms, `${slow.p99Ms} ms`);
		const least = row("least-connections", "10 x slower");
		assert.ok(least.share < fair / 2 && least.share > slow.share, `${least.share}`);
		assert.ok(row("round-robin", "10 x slower").p99Ms > 2 * least.p99Ms && least.p99Ms > slow.p99Ms);
	});

	it("peak-ewma gives one that fails fast next to nothing, where least-connections is drawn to it", () => {
		const failing = row("peak-ewma", "failing in 1 ms");
		assert.ok(failing.share < fair / 100, `${failing.share}`);
		assert.ok(failing.failed < 0.001, `${failing.failed}`);
		assert.ok(row("least-connections", "failing in 1 ms").share > 1.3 * fair);
		assert.ok(row("round-robin", "failing in 1 ms").failed > 0.09);
	});

	it("peak-ewma takes it back when its penalty has faded", () => {
		const { share } = row("peak-ewma", "well again");
		assert.ok(share > fair / 2, `${share}`);
	});

	it("the page shows this very table", () => {
		const page = readFileSync(PAGE, "utf8");
		assert.ok(withTable(page, table(rows)) === page, "docs/balancing.md is stale: run `node test/balance/simulation.ts` and commit what it writes");
	});

	it("a page without the marks is refused", () => {
		assert.throws(() => withTable("# Balancing", "|"), RangeError);
	});
});
