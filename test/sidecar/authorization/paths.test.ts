/** Row 46 of the shared list of hostile behaviours: what is matched, told and sent on is one and the same path, whatever came. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { CLASS, PATH } from "../../../src/http1/syntax.ts";
import { ok, type RawUpstream, rawClient, rawUpstream } from "../../support/raw-peer.ts";
import { startSidecar, type TestSidecar } from "../support.ts";
import { reasonOf } from "./support.ts";

interface Line {
	readonly rule: string;
	readonly input: string;
	readonly output: string | null;
	readonly reject?: boolean;
}

const file = new URL("../../../../shared/conformance/path-normalization.jsonl", import.meta.url);
const lines: readonly Line[] = existsSync(file)
	? readFileSync(file, "utf8")
			.split("\n")
			.filter((line) => line !== "")
			.map((line) => JSON.parse(line))
	: [];

interface Both {
	readonly sidecar: TestSidecar;
	readonly upstream: RawUpstream;
}

async function both(t: TestContext, routes = "", authorization = ""): Promise<Both> {
	const upstream = await rawUpstream(t, () => ok());
	const sidecar = await startSidecar(
		t,
		`accessLog: { sample: 1 }
inbound: { listen: "127.0.0.1:0", application: "${upstream.address}"${authorization} }
outbound: { listen: "127.0.0.1:0"${routes} }
upstreams: { shop: { endpoints: [ { address: "${upstream.address}" } ] }, other: { endpoints: [ { address: "127.0.0.1:9" } ] } }
`,
	);
	return { sidecar, upstream };
}

/** The target that the upstream got, or the reason of the refusal. */
async function through(t: TestContext, { sidecar, upstream }: Both, direction: "inbound" | "outbound", target: string): Promise<string> {
	const known = new Set(upstream.requests);
	const client = await rawClient(t, sidecar.port(direction));
	const answer = await client.send(`GET ${target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`).answer();
	const [arrived, ...more] = upstream.requests.filter((request) => !known.has(request));
	assert.deepEqual([more.length, arrived !== undefined], [0, answer.status === 200]);
	return arrived?.target ?? reasonOf(answer);
}

/** By the codec: a byte that no path may hold, or a target of no form. Refused before its path is looked at. */
function isNoTarget(input: string): boolean {
	if (!input.startsWith("/")) return true;
	return (
		[...(input.split("?")[0] ?? "")].some((char) => char.charCodeAt(0) > 0xff || ((CLASS[char.charCodeAt(0)] as number) & PATH) === 0) ||
		input.includes("#")
	);
}

suite("the conformance suite over the wire", { skip: lines.length === 0 && "no shared/conformance" }, () => {
	for (const direction of ["inbound", "outbound"] as const) {
		test(direction, async (t) => {
			const mesh = await both(t);
			// No request line can say an empty target.
			for (const { rule, input: target, output, reject } of lines.filter(({ input }) => input !== "")) {
				const expected = reject === true || isNoTarget(target) ? "bad_request" : (output ?? "bad_request");
				// The query is no part of the path, and goes on as it came.
				const query = rule.startsWith("envoy removeQuery") && target.includes("?") ? target.slice(target.indexOf("?")) : "";
				assert.equal(await through(t, mesh, direction, target), expected === "bad_request" ? expected : expected + query, `${rule}: ${target}`);
			}
		});
	}
});

suite("a path", () => {
	test("goes on as it came where it is normal, byte for byte", async (t) => {
		const mesh = await both(t);
		for (const target of ["/", "/a/", "/a;v=1/b", "/caf%c3%a9?q=%zz&d=../..", "/a%2Fb", "/.well-known/x", "/a|b[1]^"]) {
			for (const direction of ["inbound", "outbound"] as const) assert.equal(await through(t, mesh, direction, target), target);
		}
	});

	test("of an absolute target is normalised as any other; the asterisk stays", async (t) => {
		const { sidecar, upstream } = await both(t);
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send(
			"GET http://shop/a/../b?c HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\nGET /%61//b HTTP/1.0\r\nHost: shop\r\n\r\n",
		);
		await client.answer(2);
		assert.deepEqual(
			upstream.requests.map(({ target }) => target),
			["/b?c", "*", "/a/b"],
		);
	});

	test("is compared with routes in its normal form, and told so", async (t) => {
		const mesh = await both(
			t,
			", routes: [ { name: admin, match: { path: /admin/** }, to: other }, { name: all, match: { host: shop }, to: shop } ]",
		);
		for (const target of ["/x/../admin/a", "//admin/a", "/%61dmin/a", "/./admin/a"]) {
			assert.equal(await through(t, mesh, "outbound", target), "connect_refused", target);
		}
		assert.equal(await through(t, mesh, "outbound", "/admin/../x"), "/x");
		const log = join(dirname(mesh.sidecar.policyFile), "access");
		await mesh.sidecar.sidecar.close("api");
		const targets = readFileSync(log, "utf8")
			.trimEnd()
			.split("\n")
			.map((line) => (JSON.parse(line) as { target: string }).target);
		assert.deepEqual(targets, ["/admin/a", "/admin/a", "/admin/a", "/admin/a", "/x"]);
	});

	test("that nobody can tell the meaning of is refused with the rule, and reaches nobody; the next connection is served", async (t) => {
		const mesh = await both(t);
		const client = await rawClient(t, mesh.sidecar.port("inbound"));
		const answer = await client.send("POST /a%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Request-Id: i7\r\n\r\nabc").answer();
		assert.deepEqual([answer.status, reasonOf(answer)], [400, "bad_request"]);
		assert.match(JSON.parse(answer.body.toString()).detail, /encoded NUL in the path/);
		await client.untilClosed();
		assert.equal(mesh.upstream.connections.length, 0);
		assert.equal(await mesh.sidecar.metric("nexus_local_answers_total", { direction: "inbound", upstream: "", reason: "bad_request" }), 1);
		assert.equal(await through(t, mesh, "inbound", "/a"), "/a");
	});

	test("keeps its redirect within the host, however many slashes it begins with", async (t) => {
		const mesh = await both(t, ", routes: [ { name: old, match: { host: shop }, redirect: { status: 308, scheme: https } } ]");
		const client = await rawClient(t, mesh.sidecar.port("outbound"));
		const answer = await client.send("GET //evil.test/..//a HTTP/1.1\r\nHost: shop\r\n\r\n").answer();
		assert.equal(answer.fields.find(([name]) => name === "location")?.[1], "https://shop/a");
	});
});

suite("a rule about a path", () => {
	const DENY_ADMIN = ", authorization: { default: allow, rules: [ { name: no-admin, action: deny, paths: [/admin/**] } ] }";

	test("meets every spelling that some server would take for it", async (t) => {
		const mesh = await both(t, "", DENY_ADMIN);
		for (const target of [
			"/admin",
			"/admin/",
			"/admin/a?b",
			"//admin/a",
			"/x/../admin/a",
			"/%61dmin/a",
			"/./admin",
			"/admin;v=1/a",
			"/admin;v=1",
			"/admin%2Fa",
			"/admin%5ca",
			"/x%2F..%2Fadmin",
			"/admin%c0%afa",
			"/admin%3bx",
		]) {
			const outcome = await through(t, mesh, "inbound", target);
			assert.match(outcome, /^(unauthorized|bad_request)$/, target);
		}
		for (const target of ["/administration", "/Admin", "/x?y=/admin/a", "/x;admin"]) assert.equal(await through(t, mesh, "inbound", target), target);
	});

	test("that allows one, allows it in one reading only if it allows it in each", async (t) => {
		const mesh = await both(t, "", ", authorization: { rules: [ { name: public, action: allow, paths: [/public/**] } ] }");
		assert.equal(await through(t, mesh, "inbound", "/public/a;v=1"), "/public/a;v=1");
		assert.equal(await through(t, mesh, "inbound", "/public%2Fa"), "unauthorized");
		assert.equal(await through(t, mesh, "inbound", "/public/../secret"), "unauthorized");
		assert.equal(await through(t, mesh, "inbound", "/secret;/public/a"), "unauthorized");
	});
});
