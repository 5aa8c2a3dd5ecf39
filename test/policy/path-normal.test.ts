import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { CLASS, PATH } from "../../src/http1/syntax.ts";
import { isRefusal } from "../../src/policy/fault.ts";
import { normalTarget, pathOf } from "../../src/policy/path-normal.ts";
import { PATH_CHARS, pathReadings, readsOneWay } from "../../src/policy/path-readings.ts";

interface Line {
	readonly rule: string;
	readonly input: string;
	readonly output: string | null;
	readonly reject?: boolean;
}

// Envoy merges slashes in a step of its own, behind the one that gives every path its root ("a/b/../c" is "/a/c" in the same file).
// There is one step here, so the three inputs of the later step that have no root get it.
const ROOTED: Readonly<Record<string, string>> = { "": "/", "a//b/c": "/a/b/c", "a//b/c/": "/a/b/c/" };

const suite = new URL("../../../shared/conformance/path-normalization.jsonl", import.meta.url);
const lines: readonly Line[] = existsSync(suite)
	? readFileSync(suite, "utf8")
			.split("\n")
			.filter((line) => line !== "")
			.map((line) => JSON.parse(line))
	: [];

test("the conformance suite is there", { skip: lines.length === 0 && "no shared/conformance" }, () => {
	assert.equal(lines.length, 51);
});

for (const { rule, input, output, reject } of lines) {
	test(`${rule}: ${JSON.stringify(input)}`, () => {
		if (rule.startsWith("envoy removeQueryAndFragment")) return assert.equal(pathOf(input), output);
		const normal = normalTarget(input);
		if (reject === true) return assert.equal(typeof normal === "string" ? normal : normal.reason, "bad_request");
		assert.equal(normal, rule === "envoy merge_slashes" ? (ROOTED[input] ?? output) : output);
	});
}

test("what is normal already is given back itself", () => {
	for (const target of ["/", "/a/b", "/a/", "/.well-known/x", "/...", "/a/..b/.c", "/a.b/c..", "/a;v=1/b", "/caf%C3%A9?x=%zz&y=../..", "*"]) {
		assert.equal(normalTarget(target), target);
	}
});

test("unreserved characters are decoded, and only those", () => {
	assert.equal(normalTarget("/%61%44%6d%69n%2D%5F%7e%30"), "/aDmin-_~0");
	assert.equal(normalTarget("/%21%3a%40%20%7b%c3%a9"), "/%21%3a%40%20%7b%c3%a9");
	assert.equal(normalTarget("/%2561dmin"), "/%2561dmin");
});

test("dot segments are resolved before empty ones go, as RFC 3986 has it", () => {
	assert.equal(normalTarget("/a//../b"), "/a/b");
	assert.equal(normalTarget("/a/b//../../c"), "/a/c");
	assert.equal(normalTarget("/a/."), "/a/");
	assert.equal(normalTarget("/a/.."), "/");
	assert.equal(normalTarget("/a/b/..?x=1"), "/a/?x=1");
	assert.equal(normalTarget("///"), "/");
});

test("the query stays as it came, whatever it holds", () => {
	assert.equal(normalTarget("/a/%2e./b?c=/../d//e%00%"), "/b?c=/../d//e%00%");
	assert.equal(normalTarget("?x"), "/?x");
});

test("what no two readers agree on is refused with the rule that it breaks", () => {
	const cases: readonly (readonly [target: string, detail: RegExp])[] = [
		["/a%", /without two hexadecimal digits/],
		["/a%2", /without two hexadecimal digits/],
		["/a%u002f", /without two hexadecimal digits/],
		["/a%00", /NUL/],
		["/a%c0%80", /NUL/],
		["/a%e0%80%80b", /NUL/],
		["/a b", /no path may hold/],
		["/a#b", /no path may hold/],
		["/a\0", /no path may hold/],
		["/a\u00e9", /no path may hold/],
		["/a\u012f..", /no path may hold/],
		["/a/..%2fadmin", /hidden/],
		["/a/..%5Cadmin", /hidden/],
		["/a%2f%2e%2e%2fadmin", /hidden/],
		["/a/%c0%ae%c0%ae%c0%afadmin", /hidden/],
		["/a/%e0%80%ae./admin", /hidden/],
		["/a/%f0%80%81%ae./%f0%80%80%ae", /hidden/],
		["/user/..;foo=bar/admin", /hidden/],
		["/user/.;/admin", /hidden/],
		["/user/..%3bx/admin", /hidden/],
		["/user/.%3B", /hidden/],
		["/a;x%2fb", /several kinds/],
		["/a%3Bx%5Cb", /several kinds/],
		[`/a${"%2f".repeat(65)}`, /more than 64/],
		["/a%2fb%5cc", /several kinds/],
		["/a%c0%afb;x", /several kinds/],
		["/a%c0%afb%c1%9cc", /several kinds/],
		["/a%e0%80%bbb%f0%80%80%afc", /several kinds/],
	];
	for (const [target, detail] of cases) {
		const normal = normalTarget(target);
		assert.ok(typeof normal !== "string", `${target} -> ${normal}`);
		assert.match(normal.detail, detail, target);
	}
});

test("a refusal allocates nothing", () => {
	assert.equal(normalTarget("/%00"), normalTarget("/b%00"));
});

test("the class of path characters is the one of the codec", () => {
	for (let code = 0; code < 256; code++) {
		assert.equal(PATH_CHARS.includes(String.fromCharCode(code)), ((CLASS[code] as number) & PATH) !== 0, `character ${code}`);
	}
});

test("each reading of a path is told once", () => {
	assert.deepEqual(pathReadings("/a/b"), ["/a/b"]);
	assert.deepEqual(pathReadings("/%21%c3%a9"), ["/!%C3%A9"]);
	assert.deepEqual(pathReadings("/a%2Fb"), ["/a%2Fb", "/a/b"]);
	assert.deepEqual(pathReadings("/a%5cb"), ["/a%5Cb", "/a/b"]);
	assert.deepEqual(pathReadings("/a%c1%bfb%c0%af"), ["/a%C1%BFb%C0%AF", "/a%7Fb/"]);
	assert.deepEqual(pathReadings("/a;x/b"), ["/a;x/b", "/a/b"]);
	assert.deepEqual(pathReadings("/;x/b"), ["/;x/b", "/b"]);
	assert.deepEqual(pathReadings("/a%3Bx/b"), ["/a%3Bx/b", "/a;x/b", "/a/b"]);
	assert.deepEqual(pathReadings("/a;x/b%3By/c"), ["/a;x/b%3By/c", "/a;x/b;y/c", "/a/b%3By/c", "/a/b;y/c", "/a/b/c"]);
	assert.deepEqual(pathReadings("/a%c0%bbx/b"), ["/a%C0%BBx/b", "/a;x/b", "/a/b"]);
	assert.deepEqual(pathReadings("/a%e0%81%afb"), ["/a%E0%81%AFb", "/aob"]);
	assert.deepEqual(pathReadings("/a%e0%82%afb"), ["/a%E0%82%AFb"]);
	assert.deepEqual(pathReadings("/%252e%252e"), ["/%252e%252e"]);
});

const PIECES = [
	..."/ // . .. ... a B %2e %2E %2f %2F %5c \\ ; %3b ;x=1 %00 %c0%af %c0%ae %e0%80%af %c3%a9 %25 %252e % %4 %61 %21 * ~ ? # : @".split(" "),
	" ",
	"\u00e9",
	"\0",
];

function damaged(rng: Rng): string {
	let target = rng() < 0.9 ? "/" : "";
	for (let n = Math.floor(rng() * 12); n > 0; n--) target += PIECES[Math.floor(rng() * PIECES.length)];
	return target;
}

/** A reader of its own: RFC 3986 segments, no empty ones but the last, escapes in pairs, nothing unreserved escaped. */
const GRAMMAR = /^\/(?:(?:[A-Za-z0-9._~:@[\]|^!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+(?:\/|$))*$/;

test("200,000 damaged targets: a normal path keeps to the grammar, stays below the root in every reading, and stays as it is", () => {
	const rng = seededRng(5);
	let refused = 0;
	let changed = 0;
	for (let i = 0; i < 200_000; i++) {
		const target = damaged(rng);
		const normal = normalTarget(target);
		if (typeof normal !== "string") {
			refused++;
			continue;
		}
		if (normal !== target) changed++;
		assert.equal(normalTarget(normal), normal, target);
		if (normal === "*") continue;
		const path = pathOf(normal);
		const shown = `${JSON.stringify(target)} -> ${normal}`;
		assert.match(path, GRAMMAR, shown);
		assert.doesNotMatch(path, /%(?:00|2[de]|3\d|[46][1-9a-f]|[57][0-9a]|5f|7e)/i, shown);
		const query = target.indexOf("?");
		assert.equal(normal.slice(path.length), query === -1 ? "" : target.slice(query));
		const readings = pathReadings(path);
		assert.ok(readings.length <= 5);
		if (readsOneWay(path)) assert.deepEqual(readings, [path]);
		for (const reading of readings) {
			assert.match(reading, GRAMMAR, shown);
			assert.ok(!reading.split("/").some((segment) => segment === "." || segment === ".."), shown);
			assert.equal(isRefusal(reading), false);
		}
	}
	assert.ok(refused > 20_000 && changed > 20_000 && refused + changed < 195_000, `${refused} refused, ${changed} changed`);
});

test("as many encoded slashes as a name may need are let through", () => {
	const target = `/a${"%2f".repeat(64)}`;
	assert.equal(normalTarget(target), target);
});

test("a long path of dot segments costs no more than its length", () => {
	const target = `/${"a/../".repeat(3_000)}b`;
	assert.equal(normalTarget(target), "/b");
});
