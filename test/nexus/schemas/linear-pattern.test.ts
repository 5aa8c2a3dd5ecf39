/** Patterns match what RegExp matches, in time that no text and no pattern can stretch. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { compileLinearPattern } from "../../../src/nexus/schemas/linear-pattern.ts";

function matches(pattern: string, text: string): boolean {
	const compiled = compileLinearPattern(pattern);
	assert.ok(compiled.ok, `${pattern}: ${compiled.ok ? "" : compiled.reason}`);
	return compiled.pattern.test(text);
}

test("patterns match what RegExp matches", () => {
	const patterns = [
		...[
			"",
			"a",
			"^a$",
			"a|b",
			"^(a|b)+$",
			"^(?:ab)*c?$",
			"a.c",
			"^[a-z]+-\\d{2,4}$",
			"[^abc]",
			"^[^\\d]$",
			"^\\w+\\s\\S+$",
			"a{0}b",
			"a{2}",
			"^a{2,}$",
			"(a*)*b",
		],
		...[
			"^$",
			"x^",
			"$a",
			"[\\]\\-]",
			"[a-]",
			"\\.\\/\\\\",
			"\\u0041\\x42",
			"^.$",
			"[\\w.]+@\\w+",
			"(|a)b",
			"^(a?){3}$",
			"a+?b",
			"[]",
			"[^]",
			"\\n",
			"[\\D]",
			"[+-]?\\d",
			"^\\uD83D\\ude00$",
			"[a\\ud83d\\ude00-\\ud83d\\ude02]",
			"\\ud83d",
		],
	];
	const random = seededRng(5);
	const chars = ["a", "b", "c", "d", "7", "42", "-", ".", " ", "\n", "@", "]", "/", "\\", "A", "B", "\u{1f600}"];
	for (const pattern of patterns) {
		const regExp = new RegExp(pattern, "u");
		for (let i = 0; i < 300; i++) {
			const text = Array.from({ length: Math.floor(random() * 8) }, () => chars[Math.floor(random() * chars.length)]).join("");
			assert.equal(matches(pattern, text), regExp.test(text), `${pattern} on ${JSON.stringify(text)}`);
		}
	}
});

test("random patterns that are taken match what RegExp matches, and RegExp takes them too", () => {
	const random = seededRng(11);
	const parts = ["a", "b", "c", ".", "[ab]", "[^a]", "\\d", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{1,3}", "^", "$"];
	let taken = 0;
	for (let i = 0; i < 20_000; i++) {
		const pattern = Array.from({ length: 1 + Math.floor(random() * 8) }, () => parts[Math.floor(random() * parts.length)]).join("");
		const compiled = compileLinearPattern(pattern);
		if (!compiled.ok) continue;
		taken++;
		const regExp = new RegExp(pattern, "u");
		for (const text of ["", "a", "ab", "abc", "ba7", "cccc", "aab"])
			assert.equal(compiled.pattern.test(text), regExp.test(text), `${pattern} on ${text}`);
	}
	assert.ok(taken > 1000, `${taken} patterns were taken`);
});

test("what would take backtracking, or has no meaning, is refused with a reason", () => {
	const reasonOf = (pattern: string): string => {
		const compiled = compileLinearPattern(pattern);
		return compiled.ok ? "" : compiled.reason;
	};
	assert.match(reasonOf("(?=a)"), /looks around/);
	assert.match(reasonOf("(?<n>a)"), /names a group/);
	assert.match(reasonOf("(a)\\1"), /\\1, which is not supported/);
	assert.match(reasonOf("\\bword"), /\\b, which is not supported/);
	assert.match(reasonOf("(a"), /not closed/);
	assert.match(reasonOf("a)"), /\) too many/);
	assert.match(reasonOf("[a"), /not closed/);
	assert.match(reasonOf("[z-a]"), /range/);
	assert.match(reasonOf("*a"), /without meaning/);
	assert.match(reasonOf("a**"), /repeats a repetition/);
	assert.match(reasonOf("a{3,2}"), /more to less/);
	assert.match(reasonOf("a{x}"), /\{/);
	assert.match(reasonOf("\\"), /single/);
	assert.match(reasonOf("\\u12"), /hexadecimal/);
	assert.match(reasonOf("(((a{99}){99}){99})"), /more than 512 steps/);
	assert.match(reasonOf("a{1001}"), /more than 1000 times/);
	assert.match(reasonOf("x".repeat(257)), /at most 256 characters/);
	assert.match(reasonOf("(".repeat(100)), /more than 32 groups/);
});

test("repetitions of nothing within each other are taken at once", () => {
	const nested = `${"(".repeat(20)}${"){1000}".repeat(20)}`;
	assert.equal(matches(`^a${nested}b$`, "ab"), true);
	assert.equal(matches(`^a${nested}b$`, "aab"), false);
});

test("patterns that make RegExp take for ever are answered", () => {
	const text = "a".repeat(20_000);
	for (const pattern of ["^(a+)+$", "^(a|a)*$", "^(a*)*b$", "a*a*a*a*a*a*b"]) assert.equal(matches(pattern, `${text}!`), false);
	assert.equal(matches("^(a+)+$", text), true);
});
