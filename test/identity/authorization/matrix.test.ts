import assert from "node:assert/strict";
import { test } from "node:test";
import { authorizationMatrix, type MatrixService } from "../../../src/identity/authorization/matrix.ts";
import { matrixText } from "../../../src/identity/authorization/matrix-text.ts";
import { policy, type RuleSpec } from "./support.ts";

function service(name: string, rules?: readonly RuleSpec[], written?: "allow" | "deny"): MatrixService {
	return { service: name, trustDomain: "mesh.local", authorization: rules && policy(rules, written), strict: false };
}

const SHOP = [
	service("frontend"),
	service("orders", [
		{ name: "reads", from: ["front*"], methods: ["GET"], paths: ["/orders/**"] },
		{ name: "partner", from: ["spiffe://other.domain/*"], paths: ["/**"] },
		{ name: "no-batch", action: "deny", dryRun: true, from: ["spiffe://other.domain/batch"] },
		{ name: "seen", action: "audit" },
	]),
	service("payments", [
		{ name: "orders", from: ["orders"] },
		{ name: "no-admin", action: "deny", paths: ["/admin/**"], ports: [8080], headers: { "x-debug": "1" } },
		{ name: "trial", dryRun: true, from: ["reports"] },
	]),
	service("open", [{ name: "nobody-else", action: "deny", from: ["unauthenticated"] }]),
];

test("a table shows who may call whom, and the rules behind what is conditional or tried", () => {
	assert.equal(matrixText(authorizationMatrix(SHOP)), EXPECTED);
});

const EXPECTED = `caller                        frontend  orders     payments    open
unauthenticated               yes       no         no          no
spiffe://mesh.local/frontend  yes       some       no          yes
spiffe://mesh.local/open      yes       no         no          yes
spiffe://mesh.local/orders    yes       no         some        yes
spiffe://mesh.local/payments  yes       no         no          yes
spiffe://mesh.local/reports   yes       no         no -> some  yes
spiffe://other.domain/*       yes       yes        no          yes
spiffe://other.domain/batch   yes       yes -> no  no          yes

spiffe://mesh.local/frontend -> orders: some
  allow GET /orders/**  reads  test.yaml:10:9
spiffe://mesh.local/orders -> payments: some
  allow everything  orders  test.yaml:10:9
  deny /admin/** header x-debug port 8080  no-admin  test.yaml:11:9
spiffe://mesh.local/reports -> payments: no -> some
  deny /admin/** header x-debug port 8080  no-admin  test.yaml:11:9
  allow (dry run) everything  trial  test.yaml:12:9
spiffe://other.domain/batch -> orders: yes -> no
  allow /**  partner  test.yaml:11:9
  deny (dry run) everything  no-batch  test.yaml:12:9
`;

test("a service that lets nobody in, and one that refuses only some requests", () => {
	const { callers, cells } = authorizationMatrix([service("shut", [], "deny"), service("part", [{ action: "deny", methods: ["POST"] }])]);
	assert.deepEqual(callers, ["", "spiffe://mesh.local/part", "spiffe://mesh.local/shut"]);
	assert.deepEqual(
		cells.map((row) => row.map(({ access }) => access)),
		[
			["none", "some"],
			["none", "some"],
			["none", "some"],
		],
	);
});

test("services of several trust domains in one mesh keep their callers apart", () => {
	const here = service("here", [{ from: ["a", "spiffe://mesh.local/b"] }]);
	const there: MatrixService = {
		service: "a",
		trustDomain: "other.domain",
		authorization: policy([{ from: ["spiffe://mesh.local/here"] }]),
		strict: false,
	};
	const { callers, cells } = authorizationMatrix([here, there]);
	assert.deepEqual(callers, ["", "spiffe://mesh.local/a", "spiffe://mesh.local/b", "spiffe://mesh.local/here", "spiffe://other.domain/a"]);
	assert.deepEqual(
		cells.map((row) => row.map(({ access }) => access).join()),
		["none,none", "all,none", "all,none", "none,all", "none,none"],
	);
});

test("no services make an empty table", () => {
	assert.equal(matrixText(authorizationMatrix([])), "caller\nunauthenticated\n");
});

test("a service that takes certificates only is open to nobody without one, and a caller that nobody calls has a row", () => {
	const { callers, cells } = authorizationMatrix([{ ...service("open"), strict: true }], ["spiffe://mesh.local/batch"]);
	assert.deepEqual(callers, ["", "spiffe://mesh.local/batch", "spiffe://mesh.local/open"]);
	assert.deepEqual(
		cells.map(([cell]) => cell?.access),
		["none", "all", "all"],
	);
});
