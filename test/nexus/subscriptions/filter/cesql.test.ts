/** CESQL by the letter of its specification, and what no expression can do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../../src/core/rng.ts";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { compileCesql, errorText } from "../../../../src/nexus/subscriptions/filter/cesql.ts";
import type { CesqlValue } from "../../../../src/nexus/subscriptions/filter/cesql-syntax.ts";
import {
	EXPRESSION_CHARS_MAX,
	EXPRESSION_DEPTH_MAX,
	EXPRESSION_NODES_MAX,
	LIKE_CHARS_MAX,
} from "../../../../src/nexus/subscriptions/filter/limits.ts";
import { CESQL_CASES } from "./cesql-cases.ts";

const base: CloudEvent = { specversion: "1.0", id: "e1", source: "https://shop.example/orders", type: "order.paid" };

function outcome(text: string, event: CloudEvent): { value: CesqlValue | undefined; errors: string[] } {
	const compiled = compileCesql(text);
	if (!compiled.ok) return { value: undefined, errors: [compiled.error.kind] };
	const { value, errors } = compiled.expression.evaluate(event);
	const passes = value === true && errors.length === 0;
	assert.equal(compiled.expression.matches(event), passes, `${text} as a filter`);
	assert.equal(compiled.expression.matches(event), passes, `${text} as a filter, once more`);
	return { value, errors: errors.map(({ kind }) => kind) };
}

function judge(text: string, value: CesqlValue | undefined, error: string | undefined, event: CloudEvent): void {
	const found = outcome(text, event);
	assert.equal(found.value, value, `${text}: ${JSON.stringify(found)}`);
	if (error === undefined) assert.deepEqual(found.errors, [], text);
	else assert.ok(found.errors.includes(error), `${text}: ${found.errors} where ${error} is due`);
}

for (const [title, cases] of Object.entries(CESQL_CASES)) {
	test(`CESQL answers as the specification says: ${title}`, () => {
		for (const [text, value, error, attributes] of cases) judge(text, value, error, { ...base, ...attributes });
	});
}

test("an error names the character where it stands", () => {
	const faultOf = (text: string): string => {
		const compiled = compileCesql(text);
		if (compiled.ok) return errorText(compiled.expression.warnings[0] ?? { kind: "parse", at: -1, message: "no fault" });
		return errorText(compiled.error);
	};
	assert.equal(faultOf("type = 'a' AND"), "character 15: the expression ends where a value should stand");
	assert.equal(faultOf("type = 'a"), "character 8: the string that begins here has no ' at its end");
	assert.equal(faultOf("a = 1 # b"), 'character 7: "#" has no meaning here');
	assert.match(faultOf("a = Blue"), /^character 5: attributes are named with a-z and 0-9, and "Blue" is not; text stands in quotes$/);
	assert.equal(faultOf("a = 1 AND\n(b = NOW())"), "character 16: there is no function NOW of 0 arguments");
	assert.equal(faultOf("(a = 1"), "character 7: the expression ends where ) should stand");
	const compiled = compileCesql("1 + colour / 2");
	assert.ok(compiled.ok);
	assert.deepEqual(compiled.expression.evaluate(base).errors, [{ kind: "missingAttribute", at: 4, message: "the event has no attribute colour" }]);
});

test("length, depth, size and patterns are bounded, and what is just within the bounds runs", () => {
	const long = (text: string): string => {
		const compiled = compileCesql(text);
		return compiled.ok ? String(compiled.expression.evaluate(base).value) : compiled.error.message;
	};
	assert.match(long(`'${"x".repeat(EXPRESSION_CHARS_MAX)}'`), /at most 4096 characters/);
	assert.equal(long(`${"(".repeat(EXPRESSION_DEPTH_MAX - 1)}7${")".repeat(EXPRESSION_DEPTH_MAX - 1)}`), "7");
	assert.match(long(`${"(".repeat(EXPRESSION_DEPTH_MAX)}7${")".repeat(EXPRESSION_DEPTH_MAX)}`), /more than 32 deep/);
	assert.match(long("-".repeat(4000)), /more than 32 deep/);
	const terms = EXPRESSION_NODES_MAX / 2;
	assert.equal(long(Array(terms).fill("1").join("+")), String(terms));
	assert.match(
		long(
			Array(terms + 1)
				.fill("1")
				.join("+"),
		),
		/at most 512 parts/,
	);
	assert.match(long(`id LIKE '${"_".repeat(LIKE_CHARS_MAX + 1)}'`), /at most 256 characters/);
});

test("no text makes the parser throw, and no expression makes an evaluation throw", () => {
	const random = seededRng(7);
	const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
	const words = [
		"type",
		"id",
		"colour",
		"n",
		"1",
		"-1",
		"'a'",
		'"b"',
		"TRUE",
		"NOT",
		"AND",
		"OR",
		"XOR",
		"=",
		"!=",
		"<",
		"+",
		"-",
		"*",
		"/",
		"%",
		"(",
		")",
		",",
	];
	const further = ["LIKE", "IN", "EXISTS", "LENGTH(", "SUBSTRING(", "ABS(", "INT(", "'", "#", "\u{1f600}", "2147483647", "'a%_'"];
	let accepted = 0;
	for (let i = 0; i < 20_000; i++) {
		const text = Array.from({ length: 1 + Math.floor(random() * 12) }, () => pick([...words, ...further])).join(" ");
		const compiled = compileCesql(text);
		if (!compiled.ok) {
			assert.ok(compiled.error.at >= 0 && compiled.error.at <= text.length, text);
			continue;
		}
		accepted++;
		const { value, errors } = compiled.expression.evaluate({ ...base, n: 5 } as CloudEvent);
		assert.ok(["string", "number", "boolean"].includes(typeof value), text);
		if (typeof value === "number") assert.ok(Object.is(value, value | 0), `${text}: ${value}`);
		for (const { at } of errors) assert.ok(at >= 0 && at < text.length, text);
	}
	assert.ok(accepted > 500, `${accepted} of the texts were expressions`);
});
