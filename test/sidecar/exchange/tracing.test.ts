/** Asked why: by a token, by a tap, and of what failed; who may ask, and what is told. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { describe, it, type TestContext } from "node:test";
import type { DecisionTrace } from "../../../src/policy/decision-trace.ts";
import { ok } from "../../support/raw-peer.ts";
import type { StrictMessage } from "../../support/strict-reader.ts";
import { AT_ONCE, fieldOf, GUARD, get, group, NO_EJECTION, reply, startOutbound, type Tried, until } from "./support.ts";

const RETRY = `${NO_EJECTION}, circuitBreaker: {}, retry: { ${AT_ONCE} }`;

async function traceOf(tested: Tried, id: string): Promise<{ status: number; trace: DecisionTrace }> {
	const { status, body } = await tested.admin("GET", `/traces/${id}`);
	return { status, trace: body as DecisionTrace };
}

describe("x-nexus-trace", GUARD, () => {
	it("of an allowed caller returns the decisions in a field, and keeps them by the token", async (t) => {
		const { upstreams, seen } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY, { routes: "{ name: all, match: { host: api }, to: api }" });
		const answer = await tested.ask(get("X-Nexus-Trace: why-1\r\n"));
		assert.equal(answer.status, 200);
		const field = fieldOf(answer, "x-nexus-trace") ?? "";
		for (const part of [/route=[^;]*\(policy\.yaml:\d+\)/, /breaker=/, /pick=/, /!attempt=1 503 @[\d.]+ms/, /retry=/, /attempt=2 200 @[\d.]+ms/])
			assert.match(field, part);
		assert.equal(fieldOf(seen[0]?.request as StrictMessage, "x-nexus-trace"), undefined, "a token is between the caller and us");
		await until(() => tested.sidecar.trace("why-1") !== undefined);
		const { status, trace } = await traceOf(tested, "why-1");
		assert.deepEqual([status, trace.status, trace.attempts, trace.route], [200, 200, 2, "all"]);
		const stages = trace.decisions.map(({ stage }) => stage);
		for (const stage of ["caller", "route", "deadline", "breaker", "pick", "attempt", "retry"] as const)
			assert.ok(stages.includes(stage), `${stage} in ${stages}`);
		assert.equal(stages[0], "caller");
		for (let i = 1; i < trace.decisions.length; i++) assert.ok((trace.decisions[i]?.atMs ?? 0) >= (trace.decisions[i - 1]?.atMs ?? 0));
		const pick = trace.decisions.find(({ stage }) => stage === "pick");
		assert.equal(((pick?.data?.candidates ?? []) as unknown[]).length, 2);
		assert.match(String(trace.decisions.find(({ stage }) => stage === "retry")?.place?.file), /policy\.yaml$/);
	});

	it("of a caller that is not allowed is as if it were not there", async (t) => {
		const { upstreams } = await group(t, 1);
		const tested = await startOutbound(t, upstreams, "", { more: "tracing: { allow: [] }\n" });
		const answer = await tested.ask(get("X-Nexus-Trace: why-1\r\n"));
		assert.deepEqual([answer.status, fieldOf(answer, "x-nexus-trace"), (await traceOf(tested, "why-1")).status], [200, undefined, 404]);
		assert.equal(await tested.metric("nexus_traces_total", { result: "collected" }), 0);
	});

	for (const token of ["", "a b", "../secret", "x".repeat(65), "é"]) {
		it(`with ${JSON.stringify(token)} is no token`, async (t) => {
			const { upstreams } = await group(t, 1);
			const tested = await startOutbound(t, upstreams, "");
			const answer = await tested.ask(get(`X-Nexus-Trace: ${token}\r\n`));
			assert.deepEqual([answer.status, fieldOf(answer, "x-nexus-trace")], [200, undefined]);
		});
	}

	it("goes with an answer of ours, and with one of the policy", async (t) => {
		const { upstreams } = await group(t, 1);
		const routes = "{ name: ping, match: { path: /ping }, respond: { status: 200, body: pong } }";
		const tested = await startOutbound(t, upstreams, "", { routes });
		const refused = await tested.ask(get("X-Nexus-Trace: a\r\n", "/", "nobody"));
		assert.match(fieldOf(refused, "x-nexus-trace") ?? "", /!answer=404 no_route/);
		const pong = await tested.ask(get("X-Nexus-Trace: b\r\n", "/ping"));
		assert.match(fieldOf(pong, "x-nexus-trace") ?? "", /answer=200 as the policy says/);
	});

	it("costs requests nothing that do not ask, nor does it stay with the connection", async (t) => {
		const { upstreams } = await group(t, 1);
		const tested = await startOutbound(t, upstreams, "");
		const client = await tested.client();
		await client.send(get("X-Nexus-Trace: a\r\n")).answer();
		assert.equal(fieldOf(await client.send(get()).answer(1), "x-nexus-trace"), undefined);
		await until(() => tested.sidecar.trace("a") !== undefined);
		assert.equal(await tested.metric("nexus_traces_total", { result: "collected" }), 1);
	});

	it("tells what each stage of a guarded request decided", async (t) => {
		const { upstreams } = await group(t, 1);
		const keys =
			"circuitBreaker: { maxConcurrent: 5 }, rateLimits: [ { name: r1, requestsPerSecond: 5, key: global } ], fault: { name: f1, delay: { duration: 1ms } }";
		const tested = await startOutbound(t, upstreams, keys);
		await tested.ask(get("X-Nexus-Trace: a\r\nX-Nexus-Deadline-Ms: 900\r\n"));
		await until(() => tested.sidecar.trace("a") !== undefined);
		const { trace } = await traceOf(tested, "a");
		const text = trace.decisions.map(({ stage, text }) => `${stage}: ${text}`).join("\n");
		for (const part of [
			/limit: .*r1/,
			/deadline: 900 ms, the caller gave 900/,
			/concurrency: .*of 5 requests/,
			/breaker: circuit breaker is closed/,
			/fault: fault f1: delay 1 ms/,
			/attempt: try 1 was answered with 200/,
		])
			assert.match(text, part);
	});
});

describe("/failures", GUARD, () => {
	it("keeps what failed without having been asked before, newest first, with what was decided from the first bad turn on", async (t) => {
		const { upstreams } = await group(t, 3, (_, __, { target }) => (target === "/fine" ? ok() : reply(503)));
		const tested = await startOutbound(t, upstreams, RETRY.replace("circuitBreaker: {}, ", ""));
		await tested.ask(get("", "/one"));
		await tested.ask(get("", "/fine"));
		await tested.ask(get("", "/two"));
		const { body } = await tested.admin("GET", "/failures");
		const { failures } = body as { failures: DecisionTrace[] };
		assert.deepEqual(
			failures.map(({ target, status, attempts }) => [target, status, attempts]),
			[
				["/two", 503, 3],
				["/one", 503, 3],
			],
		);
		const retries = failures[0]?.decisions.filter(({ stage }) => stage === "retry") ?? [];
		assert.deepEqual(
			retries.map(({ text }) => text),
			["tried again at once", "tried again at once", "not tried again: all tries are used"],
		);
		for (const { place } of retries) assert.match(place?.file ?? "", /policy\.yaml$/);
	});

	it("does not keep what retries have healed", async (t) => {
		const { upstreams } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		await tested.ask(get());
		assert.equal(tested.sidecar.failures().length, 0);
	});
});

describe("/tap", GUARD, () => {
	async function tap(t: TestContext, tested: Tried, query = ""): Promise<() => Promise<DecisionTrace>> {
		const req = httpRequest({ host: "127.0.0.1", port: tested.port("admin"), path: `/tap?${query}`, agent: false }).end();
		t.after(() => req.destroy());
		req.on("error", () => {});
		const [res] = (await once(req, "response")) as [IncomingMessage];
		res.on("error", () => {});
		let text = "";
		res.setEncoding("utf8").on("data", (part: string) => {
			text += part;
		});
		return async () => {
			let found: RegExpExecArray | null = null;
			await until(() => {
				found = /event: trace\n(?:id: .*\n)?data: (.*)\n/.exec(text);
				return found !== null;
			});
			const [whole, data] = found as unknown as [string, string];
			text = text.slice(text.indexOf(whole) + whole.length);
			return JSON.parse(data) as DecisionTrace;
		};
	}

	it("sees each request while somebody looks, with all that was decided", async (t) => {
		const { upstreams } = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const tested = await startOutbound(t, upstreams, RETRY);
		const next = await tap(t, tested);
		await tested.ask(get("", "/seen"));
		const trace = await next();
		assert.deepEqual([trace.target, trace.status, trace.attempts], ["/seen", 200, 2]);
		assert.ok(trace.decisions.some(({ stage }) => stage === "retry"));
	});

	it("sees only what fits its filter", async (t) => {
		const { upstreams } = await group(t, 1, (_, __, { target }) => (target === "/bad" ? reply(500) : ok()));
		const tested = await startOutbound(t, upstreams, NO_EJECTION);
		const next = await tap(t, tested, "status=5xx");
		await tested.ask(get("", "/good"));
		await tested.ask(get("", "/bad"));
		assert.equal((await next()).target, "/bad");
	});
});
