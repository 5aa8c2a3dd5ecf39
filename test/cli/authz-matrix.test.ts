import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runAuthzMatrix } from "../../src/cli/authz-matrix.ts";
import { temporaryFolder } from "../support/processes.ts";
import { captureIo } from "./capture-io.ts";

const IDENTITY = "identity: { files: { cert: a, key: b, ca: c } }\n";
const ORDERS = `service: orders\n${IDENTITY}inbound:
  application: 127.0.0.1:3000
  authorization:
    rules:
      - { name: reads, action: allow, from: [frontend], methods: [GET], paths: [/orders/**] }
      - { name: trial, action: allow, dryRun: true, from: [batch] }
`;
const FRONTEND = `service: frontend\n${IDENTITY}outbound: {}\nupstreams: { orders: { endpoints: [{ address: h:1 }], tls: off } }\n`;
const LEGACY = "service: legacy\ninbound: { application: 127.0.0.1:3000 }\n";

function files(t: TestContext, ...texts: string[]): string[] {
	const folder = temporaryFolder(t, "matrix");
	return texts.map((text, i) => {
		const file = join(folder, `p${i}.yaml`);
		writeFileSync(file, text);
		return file;
	});
}

test("a terminal gets a table: services without rules, without an inbound port, and rules that are tried, each as it is", async (t) => {
	const paths = files(t, ORDERS, FRONTEND, LEGACY);
	const io = captureIo({ isTTY: true });
	assert.equal(await runAuthzMatrix({ files: paths }, io), 0);
	assert.equal(
		io.out(),
		`caller                        orders     legacy
unauthenticated               no         yes
spiffe://mesh.local/batch     no -> yes  yes
spiffe://mesh.local/frontend  some       yes
spiffe://mesh.local/legacy    no         yes
spiffe://mesh.local/orders    no         yes

spiffe://mesh.local/batch -> orders: no -> yes
  allow (dry run) everything  trial  ${paths[0]}:8:9
spiffe://mesh.local/frontend -> orders: some
  allow GET /orders/**  reads  ${paths[0]}:7:9
`,
	);
});

test("a pipe gets JSON with the same cells", async (t) => {
	const io = captureIo();
	assert.equal(await runAuthzMatrix({ files: files(t, ORDERS, FRONTEND) }, io), 0);
	const { services, cells } = JSON.parse(io.out()) as { services: unknown; cells: { caller: string; rules: { name: string }[] }[] };
	assert.deepEqual(services, [{ service: "orders", trustDomain: "mesh.local", default: "deny", strict: true }]);
	const { rules, ...cell } = cells.find(({ caller }) => caller === "spiffe://mesh.local/frontend") ?? assert.fail();
	assert.deepEqual(cell, { caller: "spiffe://mesh.local/frontend", service: "orders", access: "some", dryRunAccess: "some" });
	assert.deepEqual(
		rules.map(({ name }) => name),
		["reads"],
	);
});

test("a policy with faults, or a second one of a service, ends it with 1, and no half table is shown", async (t) => {
	for (const [texts, said] of [
		[[ORDERS, "service: x\nnonsense: 1\n"], /nonsense/],
		[[ORDERS, ORDERS], /p0\.yaml and .*p1\.yaml are both policies of orders of mesh\.local/],
	] as const) {
		const io = captureIo({ isTTY: true });
		assert.equal(await runAuthzMatrix({ files: files(t, ...texts) }, io), 1);
		assert.equal(io.out(), "");
		assert.match(io.err(), said);
	}
	const io = captureIo();
	assert.equal(await runAuthzMatrix({ files: [join(temporaryFolder(t, "none"), "absent.yaml")] }, io), 1);
	assert.match(io.err(), /absent\.yaml/);
});
