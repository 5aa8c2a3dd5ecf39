/** Rules about callers over mutual TLS: who gets through, who does not, what each of them is told, and what operators see. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { until } from "../../net/support.ts";
import { ok, rawUpstream } from "../../support/raw-peer.ts";
import { valuesOf } from "../../support/strict-reader.ts";
import { startSidecar } from "../support.ts";
import { accessLog, ask, type Guarded, guarded, reasonOf } from "./support.ts";

const RULES = `{ rules: [
	{ name: frontend-reads, action: allow, from: [frontend], methods: [GET], paths: [/orders/**] },
	{ name: shops, action: allow, from: ["shop-*"] },
	{ name: no-deletes, action: deny, methods: [DELETE] } ] }`.replaceAll(/\s+/g, " ");

type Denied = NexusEventData["nexus.mesh.authorization.denied"];

function denied({ sidecar }: Guarded): Denied[] {
	return sidecar.events.filter(({ type }) => type === "nexus.mesh.authorization.denied").map(({ data }) => data as Denied);
}

describe("rules", { timeout: 60_000 }, () => {
	it("let in whom they name, for what they name, and nobody else; deny wins over every allow", async (t) => {
		const service = await guarded(t, RULES);
		for (const [caller, head, status] of [
			["frontend", "GET /orders/7", 200],
			["frontend", "GET /orders", 200],
			["frontend", "POST /orders/7", 403],
			["frontend", "GET /ordersx", 403],
			["shop-a", "POST /anything", 200],
			["shop-a", "DELETE /anything", 403],
			["shopkeeper", "GET /orders/7", 403],
		] as const) {
			assert.equal(await service.status(caller, head), status, `${caller} ${head}`);
		}
	});

	it("decide each request of a connection by itself, and leave it open", async (t) => {
		const service = await guarded(t, RULES);
		const client = await service.client("frontend");
		for (const [i, [head, status]] of (
			[
				["GET /orders/1", 200],
				["POST /orders/1", 403],
				["GET /orders/2", 200],
			] as const
		).entries()) {
			assert.equal((await ask(client, head, i)).status, status, head);
		}
	});

	it("are named to operators only: log, trace, metric and event say rule, line and caller, the answer says none of it", async (t) => {
		const service = await guarded(t, RULES, { inbound: ", limits: { maxConnections: 50 }" });
		const client = await service.client("shop-a");
		const answer = await ask(client, "DELETE /x?secret=1\r\nX-Request-Id: order-7");
		assert.deepEqual([answer.status, reasonOf(answer)], [403, "unauthorized"]);
		const body = answer.body.toString();
		assert.doesNotMatch(body + JSON.stringify(answer.fields), /no-deletes|policy\.yaml/);
		assert.equal(JSON.parse(body).detail, "the caller is spiffe://mesh.local/shop-a");
		await ask(client, "DELETE /x?secret=2", 1);
		await service.status("stranger", "GET /y");

		const [first] = await accessLog(service, 3);
		assert.deepEqual([first?.status, first?.reason, first?.upstream, first?.request_id], [403, "unauthorized", "", "order-7"]);
		assert.deepEqual([valuesOf(answer, "x-request-id"), JSON.parse(body).requestId], [["order-7"], "order-7"]);
		assert.match(String(first?.detail), /^rule no-deletes refuses this to spiffe:\/\/mesh\.local\/shop-a \(.*policy\.yaml:\d+:\d+\)$/);

		const { body: failures } = await service.sidecar.admin("GET", "/failures");
		const [byDefault, byRule] = (failures as { failures: { decisions: { stage: string; verdict: string; text: string; data: unknown }[] }[] })
			.failures;
		assert.deepEqual(
			byRule?.decisions.map(({ stage, verdict }) => `${verdict} ${stage}`),
			["no authorize", "no answer"],
		);
		assert.equal(byRule?.decisions[0]?.text, "rule no-deletes refuses this to spiffe://mesh.local/shop-a");
		assert.equal(byDefault?.decisions[0]?.text, "no rule allows this to spiffe://mesh.local/stranger");

		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "no-deletes", result: "denied" }), 2);
		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "", result: "denied" }), 1);
		assert.equal(await service.sidecar.metric("nexus_local_answers_total", { direction: "inbound", reason: "unauthorized" }), 3);

		await until(() => denied(service).reduce((sum, { count }) => sum + count, 0) === 3);
		const rule = denied(service).filter(({ rule }) => rule === "no-deletes");
		assert.ok(rule.length >= 1 && rule.length <= 2, "rolled up");
		assert.deepEqual(
			[rule[0]?.kind, rule[0]?.caller, rule[0]?.method, rule[0]?.path, rule[0]?.address],
			["rule", "spiffe://mesh.local/shop-a", "DELETE", "/x", "127.0.0.1"],
		);
		assert.match(rule[0]?.policy ?? "", /policy\.yaml:\d+:\d+$/);
		const log = (await service.sidecar.log()).filter(({ rule }) => rule === "no-deletes");
		assert.deepEqual([log[0]?.level, log[0]?.caller], ["warn", "spiffe://mesh.local/shop-a"]);
	});

	it("are told in a live trace with the identity, also where they let somebody in", async (t) => {
		const service = await guarded(t, RULES);
		for (const [head, compact] of [
			["GET /orders/1", /authorize=frontend-reads\(policy\.yaml:\d+\)/],
			["DELETE /orders/1", /!authorize=no-deletes\(policy\.yaml:\d+\)/],
		] as const) {
			const answer = await ask(await service.client("frontend"), `${head}\r\nx-nexus-trace: 0123456789abcdef`);
			assert.match(valuesOf(answer, "x-nexus-trace")[0] ?? "", compact);
			assert.match(valuesOf(answer, "x-nexus-trace")[0] ?? "", /who is spiffe:\/\/mesh\.local\/frontend/);
		}
	});

	it("audit without deciding: counted and logged", async (t) => {
		const service = await guarded(t, "{ rules: [ { name: seen, action: audit, paths: [/old/**] } ] }");
		assert.equal(await service.status("frontend", "GET /old/1"), 200);
		assert.equal(await service.status("frontend", "GET /new"), 200);
		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "seen", result: "audited" }), 1);
		let lines: Record<string, unknown>[] = [];
		for (const untilMs = performance.now() + 10_000; lines.length === 0; ) {
			assert.ok(performance.now() < untilMs);
			await new Promise((resolve) => setTimeout(resolve, 10));
			lines = (await service.sidecar.log()).filter(({ rule }) => rule === "seen");
		}
		assert.deepEqual([lines[0]?.level, lines[0]?.count, lines[0]?.path], ["info", 1, "/old/1"]);
		assert.deepEqual(denied(service), []);
	});

	it("that are tried decide nothing, and are listed with whom they would have refused", async (t) => {
		const service = await guarded(
			t,
			'{ rules: [ { name: all, action: allow, from: ["*"] }, { name: trial, action: deny, dryRun: true, methods: [PUT] }, { name: quiet, action: deny, dryRun: true, methods: [PATCH] } ] }',
		);
		for (let i = 0; i < 3; i++) assert.equal(await service.status("frontend", "PUT /a/../b?c"), 200);
		assert.equal(await service.status("batch", "PUT /z"), 200);
		assert.equal(await service.status("batch", "GET /z"), 200);
		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "trial", result: "would_deny" }), 4);
		const { status, body } = await service.sidecar.admin("GET", "/authorization/dry-run");
		assert.equal(status, 200);
		const { trying, wouldRefuse } = body as {
			trying: { rule: string }[];
			wouldRefuse: { rule: string; place: string; total: number; callers: Record<string, unknown>[] }[];
		};
		assert.deepEqual(
			trying.map(({ rule }) => rule),
			["trial", "quiet"],
		);
		assert.deepEqual([wouldRefuse.length, wouldRefuse[0]?.rule, wouldRefuse[0]?.total], [1, "trial", 4]);
		assert.match(wouldRefuse[0]?.place ?? "", /policy\.yaml:\d+:\d+$/);
		const { last, ...frontend } = wouldRefuse[0]?.callers[0] ?? {};
		assert.deepEqual(frontend, { caller: "spiffe://mesh.local/frontend", address: "127.0.0.1", count: 3, countError: 0, method: "PUT", path: "/b" });
		assert.ok(Math.abs(Date.parse(String(last)) - Date.now()) < 60_000);
		assert.deepEqual(denied(service), []);
	});

	it("see whom nobody has authenticated as such: plain text in permissive, and without TLS", async (t) => {
		const rules =
			'{ rules: [ { name: health, action: allow, from: [unauthenticated], paths: [/healthz] }, { name: mesh, action: allow, from: ["*"] } ] }';
		const service = await guarded(t, rules, { inbound: ", tls: permissive" });
		assert.equal(await service.status("", "GET /healthz"), 200);
		assert.equal(await service.status("", "GET /orders"), 403);
		assert.equal(await service.status("frontend", "GET /orders"), 200);
		const answer = await ask(
			await service.client(""),
			"GET /orders\r\nx-nexus-caller: spiffe://mesh.local/frontend\r\nx-forwarded-client-cert: By=a",
		);
		assert.equal(answer.status, 403);
		assert.equal(JSON.parse(answer.body.toString()).detail, "the caller has not shown who it is");
		await until(() => denied(service).some(({ caller, address }) => caller === "" && address === "127.0.0.1"));

		const upstream = await rawUpstream(t, () => ok());
		const health = "{ rules: [ { name: health, action: allow, from: [unauthenticated], paths: [/healthz] } ] }";
		const plain = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${upstream.address}", authorization: ${health} }\n`);
		const response = await fetch(`http://127.0.0.1:${plain.port("inbound")}/orders`);
		assert.equal(response.status, 403);
		assert.equal(upstream.connections.length, 0);
	});

	it("look at every line of a field that came several times, and at its spelling with _, which some servers read as the same", async (t) => {
		const service = await guarded(
			t,
			'{ rules: [ { name: team, action: allow, from: ["*"], headers: { x-team: blue } }, { name: debug, action: deny, headers: { x-debug: "1" } } ] }',
		);
		for (const [fields, status] of [
			["x-team: blue", 200],
			["X-Team: blue\r\nx-team: blue", 200],
			["x-team: blue\r\nx-team: red", 403],
			["x-team: red\r\nx-team: blue", 403],
			["", 403],
			["x-team: blue\r\nx-debug: 0", 200],
			["x-team: blue\r\nx-debug: 0\r\nX-Debug: 1", 403],
			["x-team: blue\r\nx-debug: 0, 1", 403],
			["x-team: blue\r\nX_Team: red", 403],
			["X_Team: blue", 403],
			["x-team: blue\r\nX_Team: blue", 200],
			["x-team: blue\r\nx_debug: 1", 403],
		] as const) {
			assert.equal(await service.status("frontend", `GET /\r\n${fields}`.trimEnd()), status, fields);
		}
	});

	it("ask for the port that the connection came to", async (t) => {
		const service = await guarded(t, "");
		const port = service.sidecar.port("inbound");
		await service.reload(`{ rules: [ { name: here, action: allow, ports: [${port}] } ] }`);
		assert.equal(await service.status("frontend", "GET /"), 200);
		await service.reload(`{ rules: [ { name: elsewhere, action: allow, ports: [${port === 1 ? 2 : 1}] } ] }`);
		assert.equal(await service.status("frontend", "GET /"), 403);
	});

	it("of a new policy hold for the next request of the connections that exist", async (t) => {
		const service = await guarded(t, RULES);
		const client = await service.client("frontend");
		assert.equal((await ask(client, "GET /orders/1", 0)).status, 200);
		await service.reload('{ rules: [ { name: shops, action: allow, from: ["shop-*"] } ] }');
		assert.equal((await ask(client, "GET /orders/1", 1)).status, 403);
		await service.reload("");
		assert.equal((await ask(client, "DELETE /orders/1", 2)).status, 200);
	});

	it("come before limits: whoever is refused takes no token, and each identity has its own", async (t) => {
		const limits = ", rateLimits: [ { name: each, requestsPerSecond: 0.001, burst: 2, key: caller } ]";
		const service = await guarded(t, "{ rules: [ { name: not-eve, action: deny, methods: [PUT] } ] }", { inbound: limits });
		const statuses: number[] = [];
		for (const [caller, head] of [
			["frontend", "PUT /"],
			["frontend", "PUT /"],
			["frontend", "PUT /"],
			["frontend", "GET /"],
			["frontend", "GET /"],
			["frontend", "GET /"],
			["batch", "GET /"],
			["batch", "GET /"],
			["batch", "GET /"],
		] as const) {
			statuses.push(await service.status(caller, head));
		}
		assert.deepEqual(statuses, [403, 403, 403, 200, 200, 429, 200, 200, 429]);
	});

	it("may be ten thousand, of which a request asks those about its caller and path", async (t) => {
		const many = Array.from({ length: 9_998 }, (_, i) => `{ name: r${i}, action: allow, from: [svc-${i}], paths: [/p${i}/**] }`);
		const rules = `{ rules: [ ${many.join(", ")}, { name: last, action: allow, from: [frontend], paths: [/last/**] }, { name: no, action: deny, paths: [/last/no] } ] }`;
		const service = await guarded(t, rules);
		const client = await service.client("frontend");
		const expected = new Map([
			["/last/yes", 200],
			["/last/no", 403],
			["/p7/x", 403],
		]);
		let i = 0;
		for (const [path, status] of expected) assert.equal((await ask(client, `GET ${path}`, i++)).status, status, path);
		assert.equal(await service.status("svc-9997", "GET /p9997/a"), 200);
		assert.equal(await service.status("svc-9997", "GET /p9996/a"), 403);
	});
});
