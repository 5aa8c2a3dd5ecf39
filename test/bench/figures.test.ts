/** The arithmetic and the tables of the bench. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { verdict } from "../../bench/budgets.ts";
import { parseStat } from "../../bench/cpu.ts";
import { parseCpuList } from "../../bench/machine.ts";
import { sparkline } from "../../bench/sparkline.ts";
import { median, percentile, slope } from "../../bench/stats.ts";
import { figure, markdownTable, plainTable, signed } from "../../bench/table.ts";

test("the median of an even count is the mean of the two middle values, and of nothing no number", () => {
	assert.equal(median([9, 1, 4]), 4);
	assert.equal(median([10, 2, 4, 8]), 6);
	assert.ok(Number.isNaN(median([])));
});

test("a percentile is a value that was measured, by nearest rank", () => {
	const sorted = Array.from({ length: 200 }, (_, i) => i + 1);
	assert.equal(percentile(sorted, 0.5), 100);
	assert.equal(percentile(sorted, 0.99), 198);
	assert.equal(percentile(sorted, 1), 200);
	assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("a slope is the least-squares one, and 0 for a single point", () => {
	const points = [0, 1, 2, 3].map((x) => ({ x, y: 5 + 3 * x }));
	assert.ok(Math.abs(slope(points) - 3) < 1e-9);
	assert.equal(slope([{ x: 1, y: 7 }]), 0);
});

test("CPU time is read behind a command name with blanks and brackets, with children that have ended", () => {
	const line = "17 (a) S b (c)) R 1 17 17 0 -1 4194304 90 0 0 0 250 125 50 25 20 0 1 0 100 1000 10";
	assert.deepEqual(parseStat(line), { userUs: 3_000_000, systemUs: 1_500_000 });
	assert.throws(() => parseStat("17 (cut) R 1"), /not a line of \/proc\/PID\/stat/);
});

test("a list of cores may hold ranges, and an unreadable one allows none", () => {
	assert.deepEqual(parseCpuList("0-2,5\n"), [0, 1, 2, 5]);
	assert.deepEqual(parseCpuList(""), []);
	assert.deepEqual(parseCpuList("all"), []);
});

test("a budget is met, stretched, missed, or invalid with any fault or without a figure", () => {
	const budget = { max: 1.25, stretch: 1.1, unit: "x" } as const;
	const outcome = (value: number, faults: string[] = []) => verdict("cpu", budget, value, faults).outcome;
	assert.equal(outcome(1.1), "met, stretch too");
	assert.equal(outcome(1.25), "met");
	assert.equal(outcome(1.26), "missed");
	assert.equal(outcome(1, ["3 read errors"]), "invalid");
	assert.equal(outcome(Number.NaN), "invalid");
});

test("a sparkline runs from the least to the greatest and is flat for equal values", () => {
	assert.equal(sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8), "▁▂▃▄▅▆▇█");
	assert.equal(sparkline([4, 4, 4, 4], 2), "▁▁");
	assert.equal(sparkline([], 10), "");
});

test("tables align figures to the right and show a dash for what was not measured", () => {
	const table = {
		title: "T",
		columns: ["proxy", "us"],
		rows: [
			["ours", figure(7.25, 1)],
			["a|b", figure(Number.NaN, 1)],
		],
		notes: ["n"],
	};
	assert.equal(plainTable(table), "T\n----------\nproxy   us\n----------\nours   7.3\na|b      -\n  n\n");
	assert.equal(markdownTable(table), "### T\n\n| proxy | us |\n|---|---:|\n| ours | 7.3 |\n| a\\|b | - |\n\n- n\n");
	assert.equal(signed(0.5, 1), "+0.5");
	assert.equal(signed(-0.5, 1), "-0.5");
});
