import assert from "node:assert/strict";
import { test } from "node:test";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import type { AuthorizationSubject } from "../../../src/identity/authorization/subject.ts";
import { id, policy, type RuleSpec, request } from "./support.ts";

/** `name` of the rule that allowed, `-name` of the one that refused, "" and "-" where the default did. */
function decided(specs: readonly RuleSpec[], caller: string, subject: AuthorizationSubject, written?: "allow" | "deny"): string {
	const { allowed, rule } = new Authorizer(policy(specs, written), "mesh.local").meet(caller).decide(subject);
	return (allowed ? "" : "-") + (rule?.name ?? "");
}

const FRONTEND = id("frontend");

test("without rules everybody is allowed, unless the policy says otherwise", () => {
	assert.equal(decided([], "", request()), "");
	assert.equal(decided([], FRONTEND, request(), "deny"), "-");
});

test("where a rule allows something, everything else is refused", () => {
	const rules = [{ name: "reads", from: ["frontend"], methods: ["GET"], paths: ["/orders/**"] }];
	assert.equal(decided(rules, FRONTEND, request("GET", "/orders/1")), "reads");
	assert.equal(decided(rules, FRONTEND, request("POST", "/orders/1")), "-");
	assert.equal(decided(rules, FRONTEND, request("GET", "/order")), "-");
	assert.equal(decided(rules, id("backend"), request("GET", "/orders/1")), "-");
	assert.equal(decided(rules, "", request("GET", "/orders/1")), "-");
});

test("a rule that refuses wins over every rule that allows, wherever it stands", () => {
	const rules: RuleSpec[] = [
		{ name: "all" },
		{ name: "no-admin", action: "deny", paths: ["/admin/**"] },
		{ name: "late", action: "deny", paths: ["/**"], from: ["evil"] },
	];
	assert.equal(decided(rules, FRONTEND, request("GET", "/x")), "all");
	assert.equal(decided(rules, FRONTEND, request("GET", "/admin")), "-no-admin");
	assert.equal(decided(rules, id("evil"), request("GET", "/admin/x")), "-no-admin");
	assert.equal(decided(rules, id("evil"), request("GET", "/x")), "-late");
	assert.equal(decided([{ name: "no-admin", action: "deny", paths: ["/admin/**"] }], FRONTEND, request("GET", "/x")), "");
});

test("callers are told apart by name, wildcard, trust domain and whether they are known at all", () => {
	const cases: readonly (readonly [from: string, caller: string, fits: boolean])[] = [
		["frontend", FRONTEND, true],
		["frontend", id("frontend2"), false],
		["frontend", id("frontend", "other.domain"), false],
		["frontend", "", false],
		["front*", FRONTEND, true],
		["front*", id("front"), true],
		["front*", id("fron"), false],
		["front*", id("frontend", "mesh.local.evil"), false],
		["*-api", id("pay-api"), true],
		["*-api", id("pay-api2"), false],
		["*-api", id("x/pay-api"), false],
		["f*d", FRONTEND, true],
		["fro*ont", id("front"), false],
		["*", FRONTEND, true],
		["*", "", false],
		["*", id("frontend", "other.domain"), false],
		["spiffe://other.domain/*", id("any", "other.domain"), true],
		["spiffe://other.domain/*", id("any", "other.domain.evil"), false],
		["spiffe://other.domain/*", FRONTEND, false],
		["spiffe://other.domain/web", id("web", "other.domain"), true],
		["spiffe://other.domain/ns/*/web", id("ns/shop/web", "other.domain"), true],
		["spiffe://other.domain/ns/*/web", id("ns/evil/x/web", "other.domain"), false],
		["spiffe://other.domain/ns/*", id("ns/a/b", "other.domain"), true],
		["unauthenticated", "", true],
		["unauthenticated", FRONTEND, false],
		["unauthenticated", id("unauthenticated"), false],
	];
	for (const [from, caller, fits] of cases)
		assert.equal(decided([{ name: "r", from: [from] }], caller, request()), fits ? "r" : "-", `${from} ${caller}`);
});

test("a rule without from means everybody, known or not", () => {
	assert.equal(decided([{ name: "r", paths: ["/ping"] }], "", request("GET", "/ping")), "r");
	assert.equal(decided([{ name: "r", paths: ["/ping"] }], id("x", "other.domain"), request("GET", "/ping")), "r");
});

test("ports are those where the connection arrived", () => {
	assert.equal(decided([{ name: "r", ports: [8080, 9090] }], "", request()), "r");
	assert.equal(decided([{ name: "r", ports: [9090] }], "", request()), "-");
});

test("of a field that came twice each line must be allowed, and one that is refused is enough", () => {
	const allow: RuleSpec[] = [{ name: "r", headers: { "x-role": "reader" } }];
	assert.equal(decided(allow, "", request("GET", "/", { "x-role": "reader" })), "r");
	assert.equal(decided(allow, "", request("GET", "/", { "x-role": ["reader", "admin"] })), "-");
	assert.equal(decided(allow, "", request("GET", "/", { "x-role": "reader, admin" })), "-");
	assert.equal(decided(allow, "", request()), "-");
	const deny: RuleSpec[] = [{ name: "r", action: "deny", headers: { "x-role": { kind: "prefix", value: "adm" } } }];
	assert.equal(decided(deny, "", request("GET", "/", { "x-role": "reader" })), "");
	assert.equal(decided(deny, "", request("GET", "/", { "x-role": ["reader", "admin"] })), "-r");
	assert.equal(decided(deny, "", request("GET", "/", { "x-role": "reader, admin" })), "-r");
});

test("fields may be asked to be there or not to be there", () => {
	const rules: RuleSpec[] = [{ name: "r", headers: { a: { kind: "present" }, b: { kind: "absent" } } }];
	assert.equal(decided(rules, "", request("GET", "/", { a: "" })), "r");
	assert.equal(decided(rules, "", request("GET", "/", { a: "1", b: "2" })), "-");
	assert.equal(decided(rules, "", request("GET", "/", {})), "-");
});

test("a path that servers may read in several ways is allowed only where each reading is", () => {
	const rules: RuleSpec[] = [
		{ name: "public", paths: ["/public/**"] },
		{ name: "no-admin", action: "deny", paths: ["/**/admin", "/**/admin/**"] },
	];
	assert.equal(decided(rules, "", request("GET", "/public/a%2Fb")), "public");
	assert.equal(decided(rules, "", request("GET", "/public%2Fx")), "-");
	assert.equal(decided(rules, "", request("GET", "/public;v=1/x")), "-");
	assert.equal(decided(rules, "", request("GET", "/public/admin;x/users")), "-no-admin");
	assert.equal(decided(rules, "", request("GET", "/public/admin%3Bx/users")), "-no-admin");
	assert.equal(decided(rules, "", request("GET", "/public/x%2fadmin")), "-no-admin");
	assert.equal(decided(rules, "", request("GET", "/public/%c0%af%c0%afadmin")), "-no-admin");
	assert.equal(decided([{ name: "r", action: "deny", paths: ["/caf%C3%A9!"] }], "", request("GET", "/caf%c3%a9%21")), "-r");
});

test("an audit rule decides nothing and is told, once", () => {
	const rules: RuleSpec[] = [
		{ name: "told", action: "audit", from: ["frontend", "front*"], paths: ["/a/**", "/a/b/**"] },
		{ name: "untold", action: "audit", dryRun: true },
		{ name: "other", action: "audit", paths: ["/x"] },
	];
	const caller = new Authorizer(policy(rules, "deny"), "mesh.local").meet(FRONTEND);
	const verdict = caller.decide(request("GET", "/a/b;v=1/c"));
	assert.equal(verdict.allowed, false);
	assert.deepEqual(
		verdict.audited.map(({ name }) => name),
		["told"],
	);
	assert.deepEqual(caller.decide(request("GET", "/y")).audited, []);
});

test("a dry run decides nothing, and tells what it would have refused", () => {
	const rules: RuleSpec[] = [
		{ name: "no-writes", action: "deny", dryRun: true, methods: ["POST"] },
		{ name: "no-admin", action: "deny", paths: ["/admin"] },
	];
	const caller = new Authorizer(policy(rules), "mesh.local").meet(FRONTEND);
	const names = (subject: AuthorizationSubject) => {
		const { allowed, wouldDeny, wouldDenyByDefault } = caller.decide(subject);
		return [allowed, wouldDeny.map(({ name }) => name).join(), wouldDenyByDefault];
	};
	assert.deepEqual(names(request("POST", "/x")), [true, "no-writes", false]);
	assert.deepEqual(names(request("GET", "/x")), [true, "", false]);
	assert.deepEqual(names(request("POST", "/admin")), [false, "", false]);
});

test("the first rule that allows can be tried: it refuses nobody, and tells whom it would leave out", () => {
	const authorizer = new Authorizer(policy([{ name: "reads", dryRun: true, from: ["frontend"], methods: ["GET"] }]), "mesh.local");
	const others = authorizer.meet(id("batch")).decide(request());
	assert.deepEqual([others.allowed, others.wouldDenyByDefault, others.wouldDeny.length], [true, true, 0]);
	const named = authorizer.meet(FRONTEND).decide(request());
	assert.deepEqual([named.allowed, named.wouldDenyByDefault], [true, false]);
});

test("a dry run tells what it would have allowed", () => {
	const authorizer = new Authorizer(policy([{ from: ["frontend"] }, { name: "batch", dryRun: true, from: ["batch"] }]), "mesh.local");
	const batch = authorizer.meet(id("batch")).decide(request());
	assert.deepEqual([batch.allowed, batch.wouldAllow], [false, true]);
	assert.equal(authorizer.meet(id("other")).decide(request()).wouldAllow, false);
});

test("a connection without requests is refused by whatever would refuse some of them, and allowed by what asks for none", () => {
	const allowed = (specs: RuleSpec[], port = 5432) => new Authorizer(policy(specs), "mesh.local").meet(FRONTEND).decideConnection(port).allowed;
	assert.equal(allowed([{ from: ["frontend"] }]), true);
	assert.equal(allowed([{ from: ["frontend"], ports: [5432] }]), true);
	assert.equal(allowed([{ from: ["frontend"], ports: [5432] }], 80), false);
	assert.equal(allowed([{ from: ["frontend"], paths: ["/x"] }]), false);
	assert.equal(allowed([{}, { action: "deny", methods: ["POST"] }]), false);
	assert.equal(allowed([{}, { action: "deny", methods: ["POST"], from: ["other"] }]), true);
	assert.equal(allowed([{}, { action: "deny", dryRun: true, methods: ["POST"] }]), true);
});

test("what a decision costs does not grow with rules that cannot fit", () => {
	for (const shape of ["path", "caller", "wildcard"] as const) {
		const looks = [10, 10_000].map((count) => {
			const specs = Array.from({ length: count }, (_, i): RuleSpec => {
				const methods = ["GET"];
				if (shape === "path") return { action: i % 3 === 0 ? "deny" : "allow", methods, paths: [`/svc${i}/**`] };
				return { action: i % 3 === 0 ? "deny" : "allow", methods, from: [shape === "caller" ? `svc${i}` : `svc${i}-*`], paths: ["/svc7/**"] };
			});
			const authorizer = new Authorizer(policy(specs), "mesh.local");
			let read = 0;
			const subject = {
				// Each rule that is looked at asks for the method.
				get method() {
					read++;
					return "GET";
				},
				path: "/svc7/orders/1234",
				port: 1,
				headerLine: () => undefined,
				aliasLine: () => undefined,
			};
			const verdict = authorizer.meet(id("svc7-x")).decide(subject);
			assert.equal(verdict.rule?.name, shape === "caller" ? undefined : "r7");
			authorizer.meet(id("svc7")).decide(subject);
			return read;
		});
		assert.deepEqual(looks, shape === "path" ? [2, 2] : [1, 1], shape);
	}
});
