import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { isRefusal } from "../../src/policy/fault.ts";
import { normalHost } from "../../src/policy/host-name.ts";
import { parsePathMatch } from "../../src/policy/path-pattern.ts";
import { RouteTable } from "../../src/policy/route-table.ts";
import type { RoutePolicy } from "../../src/policy/snapshot.ts";

interface RouteSpec {
	host?: string;
	path?: string;
	methods?: string[];
	headers?: Record<string, string>;
}

function route(name: string, { host, path, methods = [], headers = {} }: RouteSpec): RoutePolicy {
	const pattern = path === undefined ? undefined : parsePathMatch(path);
	assert.ok(pattern === undefined || !isRefusal(pattern), String(path));
	return {
		place: { file: "test.yaml", line: 1, column: 1 },
		name,
		match: { host, path: pattern, methods, headers: new Map(Object.entries(headers)) },
		to: "up",
		rewriteHost: undefined,
	};
}

function matchName(specs: Record<string, RouteSpec>, host: string, path: string, method = "GET", headers: Record<string, string> = {}) {
	const table = new RouteTable(Object.entries(specs).map(([name, spec]) => route(name, spec)));
	return table.match(host, path, method, (name) => headers[name])?.name;
}

test("paths match as exact, prefix and glob say", () => {
	const cases: [pattern: string, path: string, fits: boolean][] = [
		["/a/b", "/a/b", true],
		["/a/b", "/a/b/", false],
		["/a/b", "/a", false],
		["/", "/", true],
		["/", "/a", false],
		["/**", "/", true],
		["/**", "/a/b", true],
		["/**", "*", false],
		["/a/**", "/a", true],
		["/a/**", "/a/", true],
		["/a/**", "/a/b/c", true],
		["/a/**", "/ab", false],
		["/a/*", "/a/b", true],
		["/a/*", "/a/", true],
		["/a/*", "/a", false],
		["/a/*", "/a/b/c", false],
		["/a/*.json", "/a/x.json", true],
		["/a/*.json", "/a/.json", true],
		["/a/*.json", "/a/x.json.gz", false],
		["/a/x*y*z", "/a/xyyz", true],
		["/a/x*y*z", "/a/xzzy", false],
		["/a/**/z", "/a/z", true],
		["/a/**/z", "/a/b/c/z", true],
		["/a/**/z", "/a/b/cz", false],
		["/a/**/z", "/az", false],
		["/**/b/**/c", "/b/c", true],
		["/**/b/**/c", "/x/b/y/b/z/c", true],
		["/**/b/**/c", "/x/c/b", false],
		["/*/**", "/a", true],
		["/*/**", "/", true],
		["/**/*.js/**", "/x/y.js/z", true],
	];
	for (const [pattern, path, fits] of cases) {
		assert.equal(matchName({ r: { path: pattern } }, "h", path) === "r", fits, `${pattern} on ${path}`);
	}
});

test("what is no path pattern is refused", () => {
	for (const bad of ["", "a", "**", "/a**", "/a/x**y", "/a b", "/a?x", "/a#x", "/\n", `/${"a".repeat(1024)}`, "/*".repeat(17)]) {
		assert.ok(isRefusal(parsePathMatch(bad)), bad);
	}
});

test("the first route in file order wins, however specific the others are", () => {
	const specs = { any: {}, exact: { host: "pay", path: "/a" } };
	assert.equal(matchName(specs, "pay", "/a"), "any");
	const turned = { exact: { host: "pay", path: "/a" }, suffix: { host: "*.mesh" }, any: {} };
	assert.equal(matchName(turned, "pay", "/a"), "exact");
	assert.equal(matchName(turned, "a.b.mesh", "/a"), "suffix");
	assert.equal(matchName(turned, "mesh", "/a"), "any");
	assert.equal(matchName(turned, ".mesh", "/a"), "any");
});

test("method and headers decide where host and path fit", () => {
	const specs = {
		write: { path: "/a", methods: ["POST", "PUT"] },
		beta: { path: "/a", headers: { "x-beta": "1", "x-user": "me" } },
	};
	assert.equal(matchName(specs, "h", "/a", "PUT"), "write");
	assert.equal(matchName(specs, "h", "/a", "put"), undefined);
	assert.equal(matchName(specs, "h", "/a", "GET", { "x-beta": "1", "x-user": "me" }), "beta");
	assert.equal(matchName(specs, "h", "/a", "GET", { "x-beta": "1" }), undefined);
	assert.equal(matchName(specs, "h", "/a", "GET", { "x-beta": "2", "x-user": "me" }), undefined);
});

test("hosts compare without case, port and final dot", () => {
	const cases: [string, string][] = [
		["pay", "pay"],
		["Pay", "pay"],
		["pay:80", "pay"],
		["pay.", "pay"],
		["PAY.:8080", "pay"],
		["[::1]:3000", "::1"],
		["[::1]", "::1"],
		["[FE80::1]", "fe80::1"],
		["::1", "::1"],
		["[", "["],
		["", ""],
		[":80", ""],
		[".", ""],
	];
	for (const [given, expected] of cases) assert.equal(normalHost(given), expected, given);
	for (const host of ["pay", "PAY", "pay:80", "pay.", "Pay.:1"]) assert.equal(matchName({ r: { host: "pay" } }, host, "/"), "r", host);
});

test("a table without routes matches nothing", () => {
	assert.equal(matchName({}, "h", "/"), undefined);
});

test("considered tells for each route what decided", () => {
	const table = new RouteTable([
		route("host", { host: "other" }),
		route("path", { path: "/b/**" }),
		route("method", { methods: ["POST"] }),
		route("header", { headers: { "x-beta": "1" } }),
		route("wins", { path: "/a/**" }),
		route("late", {}),
	]);
	const verdicts = table.considered("pay:80", "/a/b", "GET", (name) => (name === "x-beta" ? "2" : undefined)).map((c) => c.verdict);
	assert.deepEqual(verdicts, [
		{ kind: "host" },
		{ kind: "path" },
		{ kind: "method" },
		{ kind: "header", name: "x-beta", expected: "1", actual: "2" },
		{ kind: "matched" },
		{ kind: "later" },
	]);
});

test("a hostile path does not stall a pattern full of wildcards", () => {
	// With exponential backtracking this test would not end.
	const table = new RouteTable([route("r", { path: "/**/*a*a*a*b/**/*a*a*b/**/c" })]);
	for (const path of [`/${"a".repeat(16_000)}`, "/a".repeat(8_000), `/${"a/aab".repeat(3_000)}`]) {
		assert.equal(
			table.match("h", path, "GET", () => undefined),
			undefined,
		);
		assert.equal(table.match("h", `/aaab${path}/aab/c`, "GET", () => undefined)?.name, "r");
	}
});

test("thousands of random tables answer as a naive reading of the routes does", () => {
	const rng = seededRng(7);
	let matched = 0;
	for (let round = 0; round < 4_000; round++) {
		const specs = Array.from({ length: int(rng, 12) }, () => randomSpec(rng));
		const routes = specs.map((spec, i) => route(`r${i}`, spec));
		const table = new RouteTable(routes);
		for (let k = 0; k < 8; k++) {
			const host = randomHost(rng);
			const path = randomPath(rng);
			const method = one(rng, ["GET", "POST", "PUT"]);
			const headers: Record<string, string> = rng() < 0.5 ? { "x-a": one(rng, ["1", "2"]) } : {};
			const lookup = (name: string) => headers[name];
			const expected = specs.findIndex((spec) => naiveFits(spec, host, path, method, headers));
			const context = JSON.stringify({ specs, host, path, method, headers });
			assert.equal(table.match(host, path, method, lookup)?.name, expected === -1 ? undefined : `r${expected}`, context);
			const winners = table.considered(host, path, method, lookup).flatMap((c) => (c.verdict.kind === "matched" ? [c.route.name] : []));
			assert.deepEqual(winners, expected === -1 ? [] : [`r${expected}`], context);
			if (expected !== -1) matched++;
		}
	}
	assert.ok(matched > 5_000, `only ${matched} requests matched: the generator asks too little`);
});

const HOSTS = ["a", "b", "a.m", "b.a.m", "x.m"];
const SEGMENTS = ["a", "b", "ab", "ba", "abc", ""];
const PATTERN_SEGMENTS = ["a", "b", "ab", "*", "a*", "*b", "a*b", "*a*", "**"];

function randomSpec(rng: Rng): RouteSpec {
	const spec: RouteSpec = {};
	if (rng() < 0.6) spec.host = one(rng, [...HOSTS, "*.m", "*.a.m", "*.b.a.m"]);
	if (rng() < 0.8) {
		const plain = rng() < 0.4;
		spec.path = `/${Array.from({ length: 1 + int(rng, 4) }, () => one(rng, plain ? SEGMENTS : PATTERN_SEGMENTS)).join("/")}`;
		if (plain && rng() < 0.5) spec.path = `${spec.path}/**`;
	}
	if (rng() < 0.3) spec.methods = rng() < 0.5 ? ["GET"] : ["POST", "PUT"];
	if (rng() < 0.3) spec.headers = { "x-a": "1" };
	return spec;
}

function randomHost(rng: Rng): string {
	const host = one(rng, HOSTS);
	const dressed = rng() < 0.3 ? host.toUpperCase() : host;
	return `${dressed}${rng() < 0.2 ? "." : ""}${rng() < 0.3 ? ":8080" : ""}`;
}

function randomPath(rng: Rng): string {
	return `/${Array.from({ length: 1 + int(rng, 5) }, () => one(rng, SEGMENTS)).join("/")}`;
}

/** Reads a route as the documentation words it, with none of the code under test. */
function naiveFits(spec: RouteSpec, host: string, path: string, method: string, headers: Record<string, string>): boolean {
	const name = host.toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");
	if (spec.host?.startsWith("*.")) {
		if (!new RegExp(`^.+${spec.host.slice(1).replaceAll(".", "\\.")}$`).test(name)) return false;
	} else if (spec.host !== undefined && spec.host !== name) return false;
	if (spec.path !== undefined && !naiveGlob(spec.path.slice(1).split("/"), path.slice(1).split("/"))) return false;
	if (spec.methods !== undefined && !spec.methods.includes(method)) return false;
	return Object.entries(spec.headers ?? {}).every(([key, value]) => headers[key] === value);
}

function naiveGlob(pattern: string[], segments: string[]): boolean {
	const [head, ...rest] = pattern;
	if (head === undefined) return segments.length === 0;
	if (head === "**") return naiveGlob(rest, segments) || (segments.length > 0 && naiveGlob(pattern, segments.slice(1)));
	const [segment, ...others] = segments;
	return segment !== undefined && new RegExp(`^${head.replaceAll("*", ".*")}$`).test(segment) && naiveGlob(rest, others);
}

function int(rng: Rng, below: number): number {
	return Math.floor(rng() * below);
}

function one<T>(rng: Rng, items: readonly T[]): T {
	return items[int(rng, items.length)] as T;
}
