/** The API of policies over HTTP, with instances that only say what they run: preconditions, roll-outs by hand, refusals, bounds. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../../support/processes.ts";
import { serveNexus, temporaryDir } from "../support.ts";
import type { Status } from "./mesh.ts";

interface Answer {
	readonly status: number;
	readonly etag: string | null;
	readonly body: Record<string, unknown>;
}

function caller(url: string): (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer> {
	return async (method, path, body, headers = {}) => {
		const init = { method, headers: { "content-type": "application/json", ...headers } };
		const response = await fetch(url + path, body === undefined ? init : { ...init, body: typeof body === "string" ? body : JSON.stringify(body) });
		const text = await response.text();
		return { status: response.status, etag: response.headers.get("etag"), body: JSON.parse(text === "" ? "{}" : text) as Answer["body"] };
	};
}

const policy = (port: number): string => `upstreams: { pay: { endpoints: [{ address: 10.0.0.1:${port} }] } }\n`;
const report = (instance: string, running: number, more: object = {}): object => ({
	instance,
	have: "",
	running,
	sinceMs: 1,
	rejected: null,
	...more,
});

describe("the API of policies", () => {
	test("holds to preconditions: a version that is not the latest changes nothing", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		const put = (port: number, headers: Record<string, string>) => call("PUT", "/v1/policies/a", { policy: policy(port) }, headers);
		assert.equal((await put(1, { "if-match": '"1"' })).status, 412);
		const first = await put(1, { "if-none-match": "*" });
		assert.deepEqual([first.status, first.etag], [201, '"1"']);
		assert.equal((await put(2, { "if-none-match": "*" })).status, 412);
		assert.equal((await put(2, { "if-match": "1" })).status, 400);
		assert.equal((await put(2, { "if-match": '"1"' })).status, 201);
		assert.equal((await call("GET", "/v1/policies/a")).etag, '"2"');
		// Two people at once: one is told.
		const both = await Promise.all([put(3, { "if-match": '"2"' }), put(4, { "if-match": '"2"' })]);
		assert.deepEqual(both.map(({ status }) => status).sort(), [201, 412]);
	});

	test("rolls out to who is there, refuses another one meanwhile, and ends it by hand", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		const status = async (): Promise<Status> => (await call("GET", "/v1/policies/a/status")).body as unknown as Status;
		await call("PUT", "/v1/policies/a", { policy: policy(1) });
		for (let i = 0; i < 40; i++) await call("POST", "/v1/policies/a/sync", report(`i-${i}`, 1));
		const put = await call("PUT", "/v1/policies/a", { policy: policy(2), rollout: { stages: ["2", "25%"] } });
		assert.deepEqual([put.status, put.body.rollout], [201, "staged"]);
		const { rollout, current, instances } = await status();
		assert.equal(current, 1);
		assert.equal(rollout?.stage, "2 instances");
		assert.deepEqual(
			instances
				.filter(({ wanted }) => wanted === 2)
				.map(({ instance }) => instance)
				.sort(),
			[...rollout.instances].sort(),
		);
		assert.equal((await call("PUT", "/v1/policies/a", { policy: policy(3) })).status, 409);
		const chosen = rollout.instances[0] ?? "";
		assert.equal((await call("POST", "/v1/policies/a/sync", report(chosen, 1))).body.version, 2);
		assert.equal(
			(await call("POST", "/v1/policies/a/sync", report(instances.find(({ wanted }) => wanted === 1)?.instance ?? "", 1))).body.version,
			1,
		);
		assert.equal((await call("POST", "/v1/policies/a/rollback", { reason: "no" })).status, 200);
		const after = await status();
		assert.deepEqual([after.rollout, after.lastRollout?.state, after.current], [null, "rolled_back", 1]);
		assert.match(after.lastRollout?.reason ?? "", /a local caller: no/);
		assert.equal((await call("POST", "/v1/policies/a/sync", report(chosen, 2))).body.version, 1);
		assert.equal((await call("POST", "/v1/policies/a/rollback", {})).status, 404);
		assert.equal((await call("POST", "/v1/policies/a/rollback", { to: 2 })).status, 201);
		assert.equal((await status()).current, 3);
	});

	test("takes a version back that one instance refuses, and shows why", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		const status = async (): Promise<Status> => (await call("GET", "/v1/policies/a/status")).body as unknown as Status;
		await call("PUT", "/v1/policies/a", { policy: policy(1) });
		// A time that is none would be in the way of the status of all.
		assert.equal((await call("POST", "/v1/policies/a/sync", report("x", 1, { sinceMs: 8.7e15 }))).status, 400);
		assert.equal((await call("POST", "/v1/policies/a/sync", report("x", 1, { sinceMs: 8.64e15 }))).status, 200);
		assert.equal((await call("GET", "/v1/policies/a/status")).status, 200);
		for (const instance of ["x", "y"]) await call("POST", "/v1/policies/a/sync", report(instance, 1));
		await call("PUT", "/v1/policies/a", { policy: policy(2), rollout: { stages: ["1"] } });
		const chosen = (await status()).rollout?.instances[0] ?? "";
		const rejected = { version: 2, faults: [{ place: "nexus:a@2:1:1", message: "not here", hint: "elsewhere" }] };
		await call("POST", "/v1/policies/a/sync", report(chosen, 1, { rejected }));
		await eventually("it is taken back", async () => (await status()).lastRollout?.reason === `${chosen} refuses it: nexus:a@2:1:1 not here`);
	});

	test("answers one who waits as soon as there is something else to run, and in time where there is nothing", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		const first = await call("POST", "/v1/policies/a/sync", report("x", 0));
		assert.deepEqual([first.status, first.body.version, first.body.policy], [200, 0, null]);
		const nothing = await call("POST", "/v1/policies/a/sync", report("x", 0, { have: first.body.tag, wait: "50ms" }));
		assert.equal(nothing.status, 204);
		const waiting = call("POST", "/v1/policies/a/sync", report("x", 0, { have: first.body.tag, wait: "30s" }));
		await call("PUT", "/v1/policies/a", { policy: policy(1) });
		const news = await waiting;
		assert.deepEqual([news.status, news.body.version, news.body.policy], [200, 1, policy(1)]);
	});

	test("takes policies of services whose names look like other things in YAML", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		for (const service of ["123", "1e3", "true", "null"]) {
			const put = await call("PUT", `/v1/policies/${service}`, { policy: `service: "${service}"\n${policy(1)}` });
			assert.equal(put.status, 201, JSON.stringify(put.body));
		}
	});

	test("refuses what is too large, no JSON, no policy, or not of this service, and changes nothing", async (t) => {
		const call = caller((await serveNexus(t, temporaryDir(t))).url);
		const put = async (body: unknown, path = "/v1/policies/a"): Promise<number> => (await call("PUT", path, body)).status;
		assert.equal(await put({ policy: "x" }), 422);
		assert.equal(await put({ policy: "" }), 422);
		assert.equal(await put({ policy: `${policy(1)}# ${"x".repeat(300_000)}\n` }), 400);
		assert.equal(await put(`{"policy":"${"x".repeat(500_000)}"}`), 413);
		assert.equal(await put({ policy: `${policy(1)}#${'"'.repeat(150_000)}\n` }), 413);
		assert.equal(await put("{"), 400);
		assert.equal(await put({ policy: policy(1), rollot: "at-once" }), 400);
		assert.equal(await put({ policy: policy(1), rollout: { stages: ["half"] } }), 400);
		assert.equal(await put({ policy: "service: b\noutbound: {}\n" }), 422);
		assert.equal(await put({ policy: `outbound: { listen: \${HOME} }\n` }), 422, "no variable of Nexus itself");
		assert.equal(await put({ policy: policy(1) }, "/v1/policies/A%2Fb"), 400);
		assert.deepEqual((await call("GET", "/v1/policies")).body.policies, []);
		assert.equal((await call("GET", "/v1/policies/a")).status, 404);
		assert.equal((await call("POST", "/v1/policies/a/sync", report("../x", 0))).status, 400);
	});
});
