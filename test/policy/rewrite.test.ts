import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { isRefusal } from "../../src/policy/fault.ts";
import { parsePathMatch } from "../../src/policy/path-pattern.ts";
import { redirectLocation, rewriteTarget } from "../../src/policy/rewrite.ts";
import type { RouteMatch } from "../../src/policy/snapshot.ts";
import type { RedirectPolicy } from "../../src/policy/traffic-policy.ts";
import { int, one } from "./damage.ts";

function matching(pattern: string | undefined): RouteMatch {
	const path = pattern === undefined ? undefined : parsePathMatch(pattern);
	assert.ok(!isRefusal(path));
	return { host: undefined, path, methods: [], headers: new Map(), query: new Map(), from: [], percent: 100 };
}

function redirect(given: Partial<RedirectPolicy>): RedirectPolicy {
	return { status: 307, scheme: undefined, host: undefined, path: undefined, ...given };
}

test("a rewritten path keeps what `**` matched, and the query", () => {
	const cases: [pattern: string | undefined, path: string | undefined, target: string, expected: string][] = [
		["/old/**", "/new", "/old/a/b?x=1", "/new/a/b?x=1"],
		["/old/**", "/new", "/old", "/new"],
		["/old/**", "/new", "/old?x=/old", "/new?x=/old"],
		["/old/**", "/new", "/old/", "/new/"],
		["/old/**", "/new/", "/old/a", "/new/a"],
		["/old/**", "/new/", "/old", "/new/"],
		["/old/**", "/", "/old/a", "/a"],
		["/old/**", "/", "/old", "/"],
		["/old/**", "/", "/old/", "/"],
		["/**", "/v2", "/a/b", "/v2/a/b"],
		["/**", "/v2", "/", "/v2/"],
		["/**", "/v2", "/?x", "/v2/?x"],
		["/a/b", "/c", "/a/b?x#y", "/c?x#y"],
		["/a/*.json", "/c", "/a/x.json?v=1", "/c?v=1"],
		["/a/**/z", "/c", "/a/b/z", "/c"],
		[undefined, "/c", "/a/b?x", "/c?x"],
		["/old/**", "/new", "/old/%2e%2E/%C3%A9?a=%0d%0a", "/new/%2e%2E/%C3%A9?a=%0d%0a"],
		["/old/**", "/new", "/old//x", "/new//x"],
		[undefined, "/c", "*", "*"],
		["/a", undefined, "/a?x", "/a?x"],
	];
	for (const [pattern, rewritePath, target, expected] of cases) {
		assert.equal(rewriteTarget({ match: matching(pattern), rewritePath }, target), expected, `${pattern} -> ${rewritePath} on ${target}`);
	}
});

test("a redirect leaves out what stays as it came", () => {
	const cases: [given: Partial<RedirectPolicy>, authority: string, target: string, expected: string][] = [
		[{ path: "/new" }, "shop", "/old/a?x=1", "/new/a?x=1"],
		[{ host: "new.example.com" }, "shop", "/old/a?x=1", "//new.example.com/old/a?x=1"],
		[{ scheme: "https" }, "shop", "/old?x", "https://shop/old?x"],
		[{ scheme: "https" }, "shop:80", "/old", "https://shop/old"],
		[{ scheme: "https" }, "shop:8443", "/old", "https://shop:8443/old"],
		[{ scheme: "http" }, "[::1]:443", "/old", "http://[::1]/old"],
		[{ scheme: "https", host: "new.example.com:8443", path: "/new" }, "shop", "/old/a?x", "https://new.example.com:8443/new/a?x"],
		[{ path: "/new" }, "shop", "/old", "/new"],
		[{ path: "/new" }, "shop", "*", "/new"],
	];
	for (const [given, authority, target, expected] of cases) {
		assert.equal(
			redirectLocation({ match: matching("/old/**") }, redirect(given), authority, target),
			expected,
			JSON.stringify({ given, authority, target }),
		);
	}
});

test("a redirect never leads to a host that neither the policy nor the request names", () => {
	const anything = { match: matching("/**") };
	const at = (given: Partial<RedirectPolicy>, authority: string, target: string) => redirectLocation(anything, redirect(given), authority, target);
	assert.equal(at({ path: "/" }, "shop", "//evil.example/x"), "/evil.example/x");
	assert.equal(at({ path: "/" }, "shop", "/\\evil.example"), "/evil.example");
	assert.equal(at({ path: "/v2" }, "shop", "//evil.example/x"), "/v2//evil.example/x");
	assert.equal(at({ scheme: "https" }, "shop", "//evil.example/x"), "https://shop//evil.example/x");
	for (const authority of ["", "user@evil.example", "shop/x", "shop\r\nset-cookie: a=b", "sh op", "evil.example?", "a:b:c", "shop#"]) {
		assert.equal(at({ scheme: "https" }, authority, "/a"), "/a", authority);
	}
});

test("nothing of thousands of hostile requests ends the field or changes the host", () => {
	const rng = seededRng(11);
	const bits = ["/", "//", "\\", "\r\n", "\n", "\0", " ", "%0d%0a", "%", "?", "#", "@", ":", "é", "\u2028", "a", "..", "evil.example", "\x7f", "\t"];
	for (let round = 0; round < 5_000; round++) {
		const noise = () => Array.from({ length: int(rng, 8) }, () => one(rng, bits)).join("");
		const given = one<Partial<RedirectPolicy>>(rng, [
			{ path: "/" },
			{ path: "/new" },
			{ host: "h" },
			{ scheme: "https" },
			{ scheme: "https", host: "h" },
		]);
		const authority = rng() < 0.5 ? "shop" : noise();
		const target = `/${noise()}`;
		const location = redirectLocation({ match: matching(one(rng, ["/**", "/a/**", "/x"])) }, redirect(given), authority, target);
		assert.match(location, /^[\x21-\x7e]+$/, JSON.stringify({ given, authority, target }));
		const { hostname } = new URL(location, "http://came.example/");
		const allowed = ["came.example", "h", "shop", ...(given.scheme !== undefined && /^[a-z.]+$/.test(authority) ? [authority] : [])];
		assert.ok(allowed.includes(hostname), JSON.stringify({ given, authority, target, location }));
	}
});
