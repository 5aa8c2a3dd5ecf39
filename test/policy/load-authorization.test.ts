import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf, snapshotOf } from "./support.ts";

const POLICY = `service: orders
identity: { files: { cert: tls.crt, key: tls.key, ca: ca.crt } }
inbound:
  application: 127.0.0.1:3000
  authorization:
`;

function authorizationOf(text: string) {
	const { inbound } = snapshotOf(POLICY + text);
	assert.ok(inbound?.authorization !== undefined);
	return inbound.authorization;
}

test("rules are read with their places, and what they leave out is empty", () => {
	const {
		place,
		default: byDefault,
		dryRunDefault,
		rules,
	} = authorizationOf(`    default: deny
    rules:
      - { name: frontend-reads, action: allow, from: [frontend, "spiffe://other.domain/*"], methods: [GET], paths: [/orders/**] }
      - { name: no-debug, action: deny, headers: { X-Debug: { present: true } }, ports: [15006], dryRun: true, from: unauthenticated }
`);
	assert.deepEqual([place.line, byDefault, dryRunDefault], [5, "deny", "deny"]);
	const [reads, debug] = rules;
	assert.ok(reads !== undefined && debug !== undefined);
	assert.deepEqual(
		[reads.place.line, reads.action, reads.dryRun, reads.methods, reads.ports, reads.headers.size],
		[8, "allow", false, ["GET"], [], 0],
	);
	assert.deepEqual(reads.paths, [{ kind: "prefix", pattern: "/orders/**" }]);
	assert.deepEqual(reads.from, [
		{ kind: "identity", trustDomain: undefined, name: "frontend" },
		{ kind: "identity", trustDomain: "other.domain", name: "*" },
	]);
	assert.deepEqual(
		[debug.dryRun, debug.from, debug.ports, [...debug.headers]],
		[true, [{ kind: "unauthenticated" }], [15006], [["x-debug", { kind: "present" }]]],
	);
});

test("where no default is written, it is to refuse once a rule that is no dry run allows something", () => {
	const defaults = (rules: string) => {
		const { default: byDefault, dryRunDefault } = authorizationOf(`    rules: ${rules}\n`);
		return [byDefault, dryRunDefault];
	};
	assert.deepEqual(defaults("[]"), ["allow", "allow"]);
	assert.deepEqual(defaults("[{ name: a, action: allow, from: b }]"), ["deny", "deny"]);
	assert.deepEqual(defaults("[{ name: a, action: allow, from: b, dryRun: true }]"), ["allow", "deny"]);
	assert.deepEqual(defaults("[{ name: a, action: deny, from: b }, { name: c, action: audit }]"), ["allow", "allow"]);
});

test("rules that never act, or leave nothing to others, are told with all other faults", () => {
	assert.deepEqual(
		faultsOf(`${POLICY}    default: allow
    rules:
      - { name: a, action: allow, from: [b, b] }
      - { name: a, action: audit, dryRun: true, paths: [/a, /a//b] }
      - { name: c, action: deny }
      - { name: d, action: refuse, from: Frontend }
`),
		[
			"8:28 inbound.authorization.rules[0].action: `allow` does not act with `default: allow` | whatever no rule refuses is allowed: remove the rule, or the default",
			"8:45 inbound.authorization.rules[0].from[1]: `b` stands here twice | remove one",
			"9:17 inbound.authorization.rules[1].name: a rule named `a` stands above already | names of rules are unique",
			"9:35 inbound.authorization.rules[1].dryRun: `dryRun` does not act with `action: audit` | an audit decides nothing anyway: remove it",
			"9:61 inbound.authorization.rules[1].paths[1]: `/a//b` is not in the form that paths are compared in | write /a/b",
			"10:9 inbound.authorization.rules[2]: the rule refuses everything, so no other rule acts | give it one of from, methods, paths, headers, ports, or remove it and write `default: deny`",
			"11:28 inbound.authorization.rules[3].action: `refuse` is not one of the choices | use allow, deny, audit",
			"11:42 inbound.authorization.rules[3].from: `Frontend` names no caller | write a service as in frontend or front*, `*` for all of this mesh, spiffe://other.domain/*, or unauthenticated",
		],
	);
});

test("a rule does not ask a caller for what only the sidecar may say about it", () => {
	assert.deepEqual(
		faultsOf(`${POLICY}    rules:
      - { name: a, action: allow, headers: { X-Nexus-Caller: a, x-team: b, x_forwarded_client_cert: c } }
`),
		[
			"7:46 inbound.authorization.rules[0].headers.X-Nexus-Caller: `X-Nexus-Caller` is what a caller says about itself | who has proven to be whom is asked by `from`",
			"7:76 inbound.authorization.rules[0].headers.x_forwarded_client_cert: `x_forwarded_client_cert` is what a caller says about itself | who has proven to be whom is asked by `from`",
		],
	);
});

test("more callers and paths than can be indexed are told", () => {
	const callers = Array.from({ length: 1_000 }, (_, i) => `s${i}`).join(", ");
	const paths = Array.from({ length: 100 }, (_, i) => `/p${i}`).join(", ");
	const rules = [1, 2, 3].map((i) => `      - { name: r${i}, action: allow, from: [${callers}], paths: [${paths}] }\n`).join("");
	assert.match(faultsOf(`${POLICY}    rules:\n${rules}`).join(), /too many callers and paths/);
});
