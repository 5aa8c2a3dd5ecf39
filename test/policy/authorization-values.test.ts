import assert from "node:assert/strict";
import { test } from "node:test";
import { callerText, parseCaller, parseRulePath } from "../../src/policy/authorization-values.ts";
import { isRefusal } from "../../src/policy/fault.ts";

test("callers are read and written alike", () => {
	for (const text of ["frontend", "front*", "*-api", "*", "unauthenticated", "spiffe://other.domain/*", "spiffe://other.domain/ns/*/sa/Web_1.x"]) {
		const caller = parseCaller(text);
		assert.ok(!isRefusal(caller), text);
		assert.equal(callerText(caller), text);
	}
	assert.deepEqual(parseCaller("front*"), { kind: "identity", trustDomain: undefined, name: "front*" });
	assert.deepEqual(parseCaller("spiffe://other.domain/ns/a"), { kind: "identity", trustDomain: "other.domain", name: "ns/a" });
});

test("what names no caller is refused with what to write", () => {
	const cases: readonly (readonly [text: string, refused: RegExp, hint: RegExp])[] = [
		["", /names no caller/, /frontend/],
		["Frontend", /names no caller/, /frontend/],
		["ns/frontend", /names no caller/, /spiffe:/],
		["a*b*", /several asterisks/, /one is allowed/],
		["**", /several asterisks/, /one is allowed/],
		["spiffe://*/web", /no valid trust domain/, /written out/],
		["spiffe://*", /no valid trust domain/, /written out/],
		["spiffe://Other/web", /no valid trust domain/, /lower case/],
		["spiffe://", /no valid trust domain/, /written out/],
		["spiffe://user@other/web", /no valid trust domain/, /written out/],
		["spiffe://other.domain", /names no service/, /spiffe:\/\/other\.domain\/\*/],
		["spiffe://other.domain/", /names no service/, /spiffe:\/\/other\.domain\/\*/],
		["spiffe://other.domain/a//b", /not a SPIFFE id/, /segments/],
		["spiffe://other.domain/a/../b", /not a SPIFFE id/, /segments/],
		["spiffe://other.domain/a%2fb", /not a SPIFFE id/, /segments/],
		["spiffe://other.domain/a?b", /not a SPIFFE id/, /segments/],
		["a".repeat(65), /names no caller/, /frontend/],
		[`spiffe://other.domain/${"a".repeat(2_048)}`, /too long/, /2048/],
	];
	for (const [text, refused, hint] of cases) {
		const caller = parseCaller(text);
		assert.ok(isRefusal(caller), text);
		assert.match(caller.refused, refused, text);
		assert.match(caller.hint, hint, text);
	}
});

test("paths of rules are those of routes", () => {
	assert.deepEqual(parseRulePath("/orders/**"), { kind: "prefix", pattern: "/orders/**" });
	assert.deepEqual(parseRulePath("/caf%C3%A9/*"), { kind: "glob", pattern: "/caf%C3%A9/*" });
	assert.deepEqual(parseRulePath("/"), { kind: "exact", pattern: "/" });
});

test("a path that no request is compared as is refused, with the form to write", () => {
	const cases: readonly (readonly [text: string, hint: RegExp])[] = [
		["orders", /begin with/],
		["/a//b", /write \/a\/b$/],
		["/a/../b", /write \/b$/],
		["/%61dmin", /write \/admin$/],
		["/caf%c3%a9", /write \/caf%C3%A9$/],
		["/a%3Ab", /write \/a:b$/],
		["/a%2Fb", /leave out/],
		["/a;v=1", /leave out/],
		["/a%2Ab", /write `\*`/],
		["/a%zz", /requests are refused/],
		["/caf\u00e9", /requests are refused/],
		["/a\\b", /write \/a\/b$/],
	];
	for (const [text, hint] of cases) {
		const match = parseRulePath(text);
		assert.ok(isRefusal(match), text);
		assert.match(match.hint, hint, text);
	}
});
