import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { isRefusal } from "../../src/policy/fault.ts";
import { normalHost } from "../../src/policy/host-name.ts";
import { parsePathMatch } from "../../src/policy/path-pattern.ts";
import { RouteTable } from "../../src/policy/route-table.ts";
import type { RoutePolicy } from "../../src/policy/snapshot.ts";
import type { FieldMatch } from "../../src/policy/traffic-policy.ts";

interface RouteSpec {
	host?: string;
	path?: string;
	methods?: string[];
	headers?: Record<string, string | FieldMatch>;
	query?: Record<string, string | FieldMatch>;
	from?: string[];
	percent?: number;
}

function route(name: string, { host, path, methods = [], headers = {}, query = {}, from = [], percent = 100 }: RouteSpec): RoutePolicy {
	const pattern = path === undefined ? undefined : parsePathMatch(path);
	assert.ok(pattern === undefined || !isRefusal(pattern), String(path));
	const unchanged = { set: [], add: [], remove: [] };
	return {
		place: { file: "test.yaml", line: 1, column: 1 },
		name,
		match: { host, path: pattern, methods, headers: fields(headers), query: fields(query), from, percent },
		action: { kind: "forward", destinations: [{ to: "up", weight: 1 }], sticky: undefined },
		mirror: undefined,
		rewriteHost: undefined,
		rewritePath: undefined,
		requestHeaders: unchanged,
		responseHeaders: unchanged,
		overrides: { requestTimeoutMs: undefined, idleTimeoutMs: undefined, retry: undefined, rateLimits: [] },
	};
}

function fields(given: Record<string, string | FieldMatch>): ReadonlyMap<string, FieldMatch> {
	return new Map(Object.entries(given).map(([name, match]) => [name, typeof match === "string" ? { kind: "exact", value: match } : match]));
}

function tableOf(specs: Record<string, RouteSpec>, source?: string): RouteTable {
	return new RouteTable(
		Object.entries(specs).map(([name, spec]) => route(name, spec)),
		source,
	);
}

function matchName(specs: Record<string, RouteSpec>, host: string, target: string, method = "GET", headers: Record<string, string> = {}) {
	return tableOf(specs).match(host, target, method, (name) => headers[name])?.name;
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

test("a header is asked for its value, its beginning, its presence or its absence", () => {
	const cases: [match: FieldMatch, value: string | undefined, fits: boolean][] = [
		[{ kind: "exact", value: "a" }, "a", true],
		[{ kind: "exact", value: "a" }, "A", false],
		[{ kind: "exact", value: "a" }, "ab", false],
		[{ kind: "exact", value: "" }, undefined, false],
		[{ kind: "prefix", value: "a" }, "ab", true],
		[{ kind: "prefix", value: "a" }, "a", true],
		[{ kind: "prefix", value: "a" }, "ba", false],
		[{ kind: "prefix", value: "" }, undefined, false],
		[{ kind: "present" }, "", true],
		[{ kind: "present" }, undefined, false],
		[{ kind: "absent" }, undefined, true],
		[{ kind: "absent" }, "", false],
	];
	for (const [match, value, fits] of cases) {
		const found = matchName({ r: { headers: { x: match } } }, "h", "/", "GET", value === undefined ? {} : { x: value });
		assert.equal(found === "r", fits, JSON.stringify({ match, value }));
	}
});

test("query parameters are compared decoded once, the first of a name counts", () => {
	const cases: [match: string | FieldMatch, target: string, fits: boolean][] = [
		["2", "/a?v=2", true],
		["2", "/a?u=1&v=2&v=3", true],
		["3", "/a?v=2&v=3", false],
		["2", "/a", false],
		["2", "/a?v=%32", true],
		["%32", "/a?v=%2532", true],
		["2", "/a?v=%2532", false],
		["a b", "/a?v=a+b", true],
		["a b", "/a?v=a%20b", true],
		["a+b", "/a?v=a%2Bb", true],
		["é", "/a?v=%C3%A9", true],
		["", "/a?v", true],
		["", "/a?v=", true],
		["=", "/a?v==", true],
		["%", "/a?v=%", true],
		["%zz", "/a?v=%zz", true],
		["?", "/a?v=?", true],
		["2", "/a??v=2", false],
		[{ kind: "prefix", value: "2" }, "/a?v=23", true],
		[{ kind: "present" }, "/a?v", true],
		[{ kind: "present" }, "/a?V=1", false],
		[{ kind: "absent" }, "/a?w=1", true],
		[{ kind: "absent" }, "/a?%76=1", false],
	];
	for (const [match, target, fits] of cases) {
		assert.equal(matchName({ r: { path: "/a", query: { v: match } } }, "h", target) === "r", fits, `${JSON.stringify(match)} on ${target}`);
	}
});

test("the query does not belong to the path", () => {
	assert.equal(matchName({ r: { path: "/a" } }, "h", "/a?/b"), "r");
	assert.equal(matchName({ r: { path: "/a/**" } }, "h", "/b?/a/x"), undefined);
});

test("a route for certain sources does not exist for others", () => {
	const specs = { ours: { from: ["a", "b"] }, all: {} };
	const header = () => undefined;
	assert.equal(tableOf(specs, "b").match("h", "/", "GET", header)?.name, "ours");
	assert.equal(tableOf(specs, "c").match("h", "/", "GET", header)?.name, "all");
	assert.equal(tableOf(specs).match("h", "/", "GET", header)?.name, "ours");
	const verdicts = tableOf(specs, "c")
		.considered("h", "/", "GET", header)
		.map(({ verdict }) => verdict.kind);
	assert.deepEqual(verdicts, ["from", "matched"]);
});

test("a percentage takes that part of the requests, each route another one, and the same draw always decides alike", () => {
	const table = tableOf({ tenth: { percent: 10 }, half: { percent: 50 }, none: { percent: 0 }, rest: {} });
	assert.ok(table.draws);
	assert.ok(!tableOf({ all: {}, none: { percent: 0 } }).draws);
	const rng = seededRng(4);
	const header = () => undefined;
	const counts: Record<string, number> = {};
	for (let i = 0; i < 100_000; i++) {
		const draw = rng();
		const name = table.match("h", "/", "GET", header, draw)?.name ?? "";
		counts[name] = (counts[name] ?? 0) + 1;
		if (i % 100 !== 0) continue;
		assert.equal(table.match("h", "/", "GET", header, draw)?.name, name);
		const won = table.considered("h", "/", "GET", header, draw).find(({ verdict }) => verdict.kind === "matched");
		assert.equal(won?.route.name, name);
	}
	const near = (name: string, expected: number) =>
		assert.ok(Math.abs((counts[name] ?? 0) - expected) < 600, `${name}: ${counts[name]}, not ${expected}`);
	near("tenth", 10_000);
	// Half of what the tenth left: a draw of its own, not the upper part of the same one.
	near("half", 45_000);
	near("rest", 45_000);
	assert.equal(counts.none, undefined);
});

test("without a draw a request belongs to every percentage but 0", () => {
	assert.equal(matchName({ none: { percent: 0 }, some: { percent: 0.1 }, rest: {} }, "h", "/"), "some");
	const [none] = tableOf({ none: { percent: 0 } }).considered("h", "/", "GET", () => undefined);
	assert.deepEqual(none?.verdict, { kind: "percent", percent: 0, drawn: 0 });
});

test("a request is compared with the routes of its host and path alone, however many there are", () => {
	// Each route asks for a header that no request has, so every comparison is one look at a header.
	const never = { headers: { "x-never": "1" } };
	const looksAmong = (routes: number): number => {
		const specs: Record<string, RouteSpec> = {};
		for (let i = 0; i < routes; i += 5) {
			specs[`host${i}`] = { ...never, host: `s${i}` };
			specs[`exact${i}`] = { ...never, host: "shop", path: `/p${i}/x` };
			specs[`prefix${i}`] = { ...never, path: `/q${i}/**` };
			specs[`glob${i}`] = { ...never, path: `/q${i}/*/z` };
			specs[`suffix${i}`] = { ...never, host: `*.d${i}.mesh`, path: "/q0/**" };
		}
		const table = tableOf(specs);
		let looks = 0;
		const header = () => {
			looks++;
			return undefined;
		};
		for (const [host, target] of [
			["s0", "/"],
			["shop", "/p0/x"],
			["any", "/q0/y/z"],
			["a.d0.mesh", "/q0/y"],
			["a.d5.mesh", "/p5/x"],
			["shop", "/q0/y/z?x=1"],
		] as const) {
			assert.equal(table.match(host, target, "GET", header), undefined);
		}
		return looks;
	};
	const few = looksAmong(10);
	assert.equal(few, 1 + 1 + 2 + 2 + 0 + 2);
	assert.equal(looksAmong(10_000), few);
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
		{ kind: "header", name: "x-beta", expected: { kind: "exact", value: "1" }, actual: "2" },
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
		const table = new RouteTable(routes, SOURCE);
		for (let k = 0; k < 8; k++) {
			const host = randomHost(rng);
			const path = randomPath(rng);
			const method = one(rng, ["GET", "POST", "PUT"]);
			const headers: Record<string, string> = rng() < 0.5 ? { "x-a": one(rng, ["1", "2"]) } : {};
			const query: Record<string, string> = rng() < 0.5 ? { v: one(rng, ["1", "2", "a b"]) } : {};
			const target = `${path}${Object.keys(query).length === 0 ? "" : `?x=y&v=${encodeURIComponent(query.v ?? "")}&v=9`}`;
			const lookup = (name: string) => headers[name];
			const expected = specs.findIndex((spec) => naiveFits(spec, host, path, method, headers, query));
			const context = JSON.stringify({ specs, host, target, method, headers });
			assert.equal(table.match(host, target, method, lookup)?.name, expected === -1 ? undefined : `r${expected}`, context);
			const winners = table.considered(host, target, method, lookup).flatMap((c) => (c.verdict.kind === "matched" ? [c.route.name] : []));
			assert.deepEqual(winners, expected === -1 ? [] : [`r${expected}`], context);
			if (expected !== -1) matched++;
		}
	}
	assert.ok(matched > 5_000, `only ${matched} requests matched: the generator asks too little`);
});

const SOURCE = "me";
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
	if (rng() < 0.3) spec.headers = { "x-a": one<FieldMatch>(rng, [{ kind: "exact", value: "1" }, { kind: "present" }, { kind: "absent" }]) };
	if (rng() < 0.2) spec.query = { v: one<string | FieldMatch>(rng, ["1", "a b", { kind: "prefix", value: "a" }, { kind: "absent" }]) };
	if (rng() < 0.2) spec.from = one(rng, [["me"], ["you"], ["you", "me"]]);
	if (rng() < 0.1) spec.percent = 0;
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
function naiveFits(
	spec: RouteSpec,
	host: string,
	path: string,
	method: string,
	headers: Record<string, string>,
	query: Record<string, string>,
): boolean {
	if (spec.percent === 0 || spec.from?.includes(SOURCE) === false) return false;
	const name = host.toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");
	if (spec.host?.startsWith("*.")) {
		if (!new RegExp(`^.+${spec.host.slice(1).replaceAll(".", "\\.")}$`).test(name)) return false;
	} else if (spec.host !== undefined && spec.host !== name) return false;
	if (spec.path !== undefined && !naiveGlob(spec.path.slice(1).split("/"), path.slice(1).split("/"))) return false;
	if (spec.methods !== undefined && !spec.methods.includes(method)) return false;
	return naiveFields(spec.headers, headers) && naiveFields(spec.query, query);
}

function naiveFields(wanted: RouteSpec["headers"] = {}, given: Record<string, string>): boolean {
	return Object.entries(wanted).every(([key, match]) => {
		const value = given[key];
		if (typeof match === "string") return value === match;
		if (match.kind === "present" || match.kind === "absent") return (value !== undefined) === (match.kind === "present");
		return match.kind === "exact" ? value === match.value : match.kind === "prefix" && value?.slice(0, match.value.length) === match.value;
	});
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
