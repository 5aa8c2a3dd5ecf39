import assert from "node:assert/strict";
import { test } from "node:test";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import { explainAuthorization } from "../../../src/identity/authorization/explain.ts";
import type { AuthorizationSubject } from "../../../src/identity/authorization/subject.ts";
import { id, policy, type RuleSpec, request } from "./support.ts";

function told(specs: readonly RuleSpec[], caller: string, subject: AuthorizationSubject, written?: "allow" | "deny"): string[] {
	const decisions = explainAuthorization(new Authorizer(policy(specs, written), "mesh.local"), caller, subject);
	return decisions.map(({ verdict, text, place }) => `${verdict} ${text}${place === undefined ? "" : ` :${place.line}`}`);
}

const FRONTEND = id("frontend");

test("each rule is told with why it fits or not, and its line", () => {
	const rules: RuleSpec[] = [
		{ name: "batch", from: ["batch", "spiffe://other.domain/*"] },
		{ name: "writes", methods: ["POST", "PUT"] },
		{ name: "orders", paths: ["/orders/**", "/order"] },
		{ name: "port", ports: [9090] },
		{ name: "beta", headers: { "x-beta": "1" } },
		{ name: "plain", action: "deny", headers: { via: { kind: "absent" } } },
		{ name: "reads", from: ["front*"], methods: ["GET"] },
		{ name: "all" },
		{ name: "seen", action: "audit" },
		{ name: "trial", action: "deny", dryRun: true },
	];
	assert.deepEqual(told(rules, FRONTEND, request("GET", "/x", { "x-beta": "secret", via: "me" })), [
		"note the caller is spiffe://mesh.local/frontend :9",
		"note rule batch does not fit: the caller is not batch or spiffe://other.domain/* :10",
		"note rule writes does not fit: the method is not POST or PUT :11",
		"note rule orders does not fit: the path does not fit /orders/** or /order :12",
		"note rule port does not fit: the port is not 9090 :13",
		'note rule beta does not fit: header x-beta is not "1" :14',
		"note rule plain does not fit: header via is there :15",
		"yes rule reads fits: allowed :16",
		"note rule all fits as well, but another rule has decided :17",
		"note rule seen fits, and is told :18",
		"note rule trial (dry run) fits: it would refuse this :19",
	]);
});

test("a rule that refuses is told to have decided", () => {
	assert.deepEqual(told([{ name: "all" }, { name: "no-admin", action: "deny", paths: ["/admin"] }], "", request("GET", "/admin")), [
		"note the caller is not authenticated :9",
		"note rule all fits, but it is refused all the same :10",
		"no rule no-admin fits: refused :11",
	]);
});

test("where no rule decides, the default is told, and what the dry runs would change", () => {
	assert.deepEqual(told([{ name: "reads", methods: ["GET"] }], "", request("POST", "/x")).slice(2), ["no refused: no rule allows it :9"]);
	assert.deepEqual(told([{ name: "reads", dryRun: true, methods: ["GET"] }], "", request("POST", "/x")).slice(2), [
		"note if the dry runs were none it would be refused: no rule allows it :9",
		"yes allowed: no rule refuses it :9",
	]);
	assert.deepEqual(told([{ name: "reads", dryRun: true, methods: ["GET"] }], "", request("GET", "/x"), "deny").slice(1), [
		"note rule reads (dry run) fits: it would allow this :10",
		"note if the dry runs were none it would be allowed :9",
		"no refused: no rule allows it :9",
	]);
});

test("a path with several readings is told with all of them, and with the one that is in the way", () => {
	assert.deepEqual(told([{ name: "files", paths: ["/files/*"] }], "", request("GET", "/files/a%2Fb")).slice(1), [
		"note servers may read this path as /files/a%2Fb or /files/a/b: each reading must be allowed",
		"note rule files does not fit: the path does not fit /files/* :10",
		"no refused: no rule allows it :9",
	]);
});

test("of thousands of rules those that fit are told first, and the others are counted", () => {
	const rules = Array.from({ length: 5_000 }, (_, i): RuleSpec => ({ name: `r${i}`, from: [i === 4_321 ? "frontend" : `svc${i}`] }));
	const lines = told(rules, FRONTEND, request());
	assert.equal(lines.length, 102);
	assert.ok(lines.includes("yes rule r4321 fits: allowed :4331"));
	assert.equal(lines.at(-1), "note 4900 more rules :9");
});

test("a value that came in a header is never told", () => {
	const all = told([{ headers: { authorization: { kind: "prefix", value: "Bearer" } } }], "", request("GET", "/", { authorization: "hunter2" }));
	assert.ok(!all.join().includes("hunter2"));
	assert.ok(all.join().includes('header authorization is nothing that begins with "Bearer"'));
});
