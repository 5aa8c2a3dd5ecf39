/** The bench's command line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions } from "../../bench/options.ts";

function optionsOf(...argv: string[]) {
	const parsed = parseOptions(argv);
	assert.ok(parsed.kind === "run", JSON.stringify(parsed));
	return parsed.options;
}

test("without options three rounds of everything run", () => {
	const options = optionsOf();
	assert.equal(options.rounds, 3);
	assert.deepEqual(options.bodies, [100, 10_240]);
	assert.ok(options.parts.includes("log"));
	assert.equal(options.idleConnections, 8000);
});

test("a quick run is one short round, and single options still win", () => {
	const options = optionsOf("--quick", "--rounds", "2");
	assert.equal(options.rounds, 2);
	assert.equal(options.seconds, 1);
});

test("contestants and parts can be chosen, and the second row left out", () => {
	const options = optionsOf("--only", "ours,haproxy", "--no-log-row");
	assert.deepEqual(options.only, ["ours", "haproxy"]);
	assert.ok(!options.parts.includes("log"));
});

test("what makes no sense is refused with what would", () => {
	const messageOf = (...argv: string[]) => {
		const parsed = parseOptions(argv);
		return parsed.kind === "wrong" ? parsed.message : parsed.kind;
	};
	assert.match(messageOf("--only", "ours,caddy"), /does not know "caddy"; it knows direct, nginx/);
	assert.match(messageOf("--rounds", "0"), /whole numbers from 1, not "0"/);
	assert.match(messageOf("--bodies", "100,big"), /--bodies takes whole numbers/);
	assert.match(messageOf("--frequency", "1"), /--frequency/);
	assert.match(messageOf("--quick", "--docs"), /mean nothing/);
	assert.equal(messageOf("--help"), "help");
});
