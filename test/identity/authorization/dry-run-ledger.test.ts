import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import { DryRunLedger } from "../../../src/identity/authorization/dry-run-ledger.ts";
import { TopCallers } from "../../../src/identity/authorization/top-callers.ts";
import { id, policy, type RuleSpec, request } from "./support.ts";

const NO_WRITES: RuleSpec = { name: "no-writes", action: "deny", dryRun: true, methods: ["POST"] };

function recorder(ledger: DryRunLedger, specs: readonly RuleSpec[]) {
	const given = policy(specs);
	ledger.adopt(given);
	const authorizer = new Authorizer(given, "mesh.local");
	return (caller: string, address: string, method: string, path: string, wallMs: number) => {
		const subject = request(method, path);
		ledger.record(authorizer.meet(caller).decide(subject), caller, address, subject, wallMs);
	};
}

test("who would have been refused is listed by rule, with how often, when last and by what", () => {
	const ledger = new DryRunLedger();
	const record = recorder(ledger, [NO_WRITES, { name: "reads", dryRun: true, from: ["frontend"] }]);
	record(id("frontend"), "10.0.0.1", "POST", "/a", 1_000);
	record(id("frontend"), "10.0.0.2", "POST", "/b", 2_000);
	record(id("frontend"), "10.0.0.2", "GET", "/c", 3_000);
	record("", "10.0.0.9", "GET", "/d", 4_000);
	const frontend = { caller: id("frontend"), address: "10.0.0.2", count: 2, countError: 0, lastMs: 2_000, method: "POST", path: "/b" };
	const unknown = { caller: "", address: "10.0.0.9", count: 1, countError: 0, lastMs: 4_000, method: "GET", path: "/d" };
	assert.deepEqual(ledger.list(), [
		{ rule: "no-writes", place: { file: "test.yaml", line: 10, column: 9 }, total: 2, callers: [frontend] },
		{ rule: undefined, place: undefined, total: 1, callers: [unknown] },
	]);
});

test("nothing is counted where the dry runs change nothing", () => {
	const ledger = new DryRunLedger();
	const record = recorder(ledger, [NO_WRITES, { action: "deny", paths: ["/x"] }]);
	record(id("a"), "10.0.0.1", "GET", "/", 1);
	record(id("a"), "10.0.0.1", "POST", "/x", 1);
	assert.deepEqual(ledger.list(), []);
});

test("counts outlive a reload for rules that say the same, and only for those", () => {
	const ledger = new DryRunLedger();
	const second: RuleSpec = { name: "second", action: "deny", dryRun: true, paths: ["/a"] };
	recorder(ledger, [NO_WRITES, second])(id("a"), "10.0.0.1", "POST", "/a", 1);
	const totals = () => ledger.list().map(({ rule, total, place }) => [rule, total, place?.line]);
	assert.deepEqual(totals(), [
		["no-writes", 1, 10],
		["second", 1, 11],
	]);
	recorder(ledger, [{ ...second, paths: ["/b"] }, NO_WRITES]);
	assert.deepEqual(totals(), [["no-writes", 1, 11]]);
	ledger.adopt(undefined);
	assert.deepEqual(totals(), []);
});

test("what no rule would have allowed is counted anew when any rule changes", () => {
	const ledger = new DryRunLedger();
	const rules: RuleSpec[] = [{ name: "reads", dryRun: true, from: ["frontend"] }];
	recorder(ledger, rules)(id("a"), "10.0.0.1", "GET", "/", 1);
	ledger.adopt(policy(rules));
	assert.equal(ledger.list().length, 1);
	ledger.adopt(policy([...rules, { name: "more", dryRun: true, from: ["a"] }]));
	assert.deepEqual(ledger.list(), []);
});

test("a million callers leave a bounded list, an exact total, and the frequent ones in it", () => {
	const ledger = new DryRunLedger();
	const given = policy([NO_WRITES]);
	ledger.adopt(given);
	const rules = new Authorizer(given, "mesh.local").meet("");
	const subject = request("POST", `/${"x".repeat(5_000)}`);
	const rng = seededRng(9);
	let frequent = 0;
	for (let i = 0; i < 1_000_000; i++) {
		const isFrequent = rng() < 0.05;
		if (isFrequent) frequent++;
		ledger.record(rules.decide(subject), "", isFrequent ? "192.0.2.1" : `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, subject, i);
	}
	const [count] = ledger.list();
	assert.equal(count?.total, 1_000_000);
	assert.equal(count.callers.length, 64);
	const found = count.callers.find(({ address }) => address === "192.0.2.1");
	assert.ok(found !== undefined && found.count >= frequent && found.count - found.countError <= frequent);
	assert.equal(found.path.length, 256);
});

test("with many dry runs each remembers fewer callers", () => {
	const ledger = new DryRunLedger();
	const specs = Array.from({ length: 1_023 }, (_, i): RuleSpec => ({ name: `r${i}`, action: "deny", dryRun: true }));
	const given = policy(specs);
	ledger.adopt(given);
	const rules = new Authorizer(given, "mesh.local").meet("");
	for (let i = 0; i < 20; i++) ledger.record(rules.decide(request()), "", `10.0.0.${i}`, request(), i);
	const rows = ledger.list();
	assert.equal(rows.length, 1_023);
	assert.ok(rows.every(({ callers, total }) => callers.length === 8 && total === 20));
});

test("who takes the place of another is told with how much of its count may be the other's", () => {
	const callers = new TopCallers(2);
	for (const address of ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.3"]) callers.add("", address, "GET", "/", 1);
	const counts = callers.list().map(({ address, count, countError }) => [address, count, countError]);
	assert.deepEqual(counts, [
		["10.0.0.3", 3, 1],
		["10.0.0.2", 2, 0],
	]);
});

test("a list that can hold nobody is refused", () => {
	assert.throws(() => new TopCallers(0), RangeError);
});
