/** Routes over the wire: who goes where, in which shares, with what changes, and what the policy answers by itself. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { ok } from "../../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../../support/strict-reader.ts";
import {
	AT_ONCE,
	assertAllReturned,
	fieldOf,
	type Group,
	GUARD,
	get,
	group,
	NO_EJECTION,
	reasonOf,
	reply,
	startOutbound,
	type Tried,
	upstream,
} from "./support.ts";

/** Behind the routes of a host that has any, which are then all that it has. */
const REST = "{ name: rest, match: { host: api }, to: api }";

/** Upstreams `api`, `v1`, `v2`, each of which answers with its name. */
async function routed(t: TestContext, routes: string, more = ""): Promise<{ tested: Tried; api: Group; v1: Group; v2: Group }> {
	const [api, v1, v2] = [await group(t, 1, () => ok("api")), await group(t, 1, () => ok("v1")), await group(t, 1, () => ok("v2"))];
	const tested = await startOutbound(t, api.upstreams, "", {
		routes,
		more: `  v1: ${upstream(v1.upstreams, "")}\n  v2: ${upstream(v2.upstreams, "")}\n${more}`,
	});
	return { tested, api, v1, v2 };
}

async function bodies(tested: Tried, count: number, request: (i: number) => string = () => get()): Promise<string[]> {
	const client = await tested.client();
	const all: string[] = [];
	for (let i = 0; i < count; i++) all.push((await client.send(request(i)).answer(i)).body.toString());
	return all;
}

function share(all: readonly string[], of: string): number {
	return all.filter((body) => body === of).length / all.length;
}

describe("a split", GUARD, () => {
	it("gives each its share", async (t) => {
		const { tested } = await routed(t, "{ name: s, match: { host: api }, split: [ { to: v1, weight: 80 }, { to: v2, weight: 20 } ] }");
		const all = await bodies(tested, 1000);
		// The generator is seeded; three standard deviations are 0.038.
		assert.ok(Math.abs(share(all, "v2") - 0.2) < 0.038, `${share(all, "v2")}`);
		assert.equal(share(all, "api"), 0);
	});

	for (const [sticky, field] of [
		["header:x-user", (user: number) => `X-User: u${user}\r\n`],
		["cookie:session", (user: number) => `Cookie: a=1; session=s${user}; b=2\r\n`],
	] as const) {
		it(`that is sticky by ${sticky} keeps each where it was, and the shares`, async (t) => {
			const { tested } = await routed(
				t,
				`{ name: s, match: { host: api }, split: [ { to: v1, weight: 70 }, { to: v2, weight: 30 } ], sticky: "${sticky}" }`,
			);
			const users = 400;
			const first = await bodies(tested, users, (user) => get(field(user)));
			assert.ok(Math.abs(share(first, "v2") - 0.3) < 0.07, `${share(first, "v2")}`);
			assert.deepEqual(await bodies(tested, users, (user) => get(field(user))), first);
		});
	}

	it("that is sticky by address keeps a client where it was", async (t) => {
		const { tested } = await routed(t, "{ name: s, match: { host: api }, split: [ { to: v1, weight: 50 }, { to: v2, weight: 50 } ], sticky: ip }");
		assert.equal(new Set(await bodies(tested, 50)).size, 1);
	});

	it("that is sticky spreads those who have no key", async (t) => {
		const { tested } = await routed(
			t,
			'{ name: s, match: { host: api }, split: [ { to: v1, weight: 50 }, { to: v2, weight: 50 } ], sticky: "header:x-user" }',
		);
		assert.ok(Math.abs(share(await bodies(tested, 200), "v2") - 0.5) < 0.15);
	});
});

describe("a match", GUARD, () => {
	it("by fields, query, method and path takes what fits all of them, and the rest goes on", async (t) => {
		const match =
			'{ host: api, path: /p/**, methods: [GET], headers: { x-a: "1", x-b: { prefix: y }, x-c: { present: true }, x-d: { absent: true } }, query: { v: "2" } }';
		const { tested } = await routed(t, `{ name: m, match: ${match}, to: v1 }, ${REST}`);
		const fields = "X-A: 1\r\nX-B: yes\r\nX-C: any\r\n";
		const cases: [string, string][] = [
			[get(fields, "/p/x?v=2"), "v1"],
			[get(fields, "/p/x?a=b&v=2&c"), "v1"],
			[get(fields, "/p/x?v=3"), "api"],
			[get(fields, "/p/x"), "api"],
			[get(fields, "/q/x?v=2"), "api"],
			[get(`${fields}X-D: 1\r\n`, "/p/x?v=2"), "api"],
			[get(fields.replace("X-A: 1", "X-A: 12"), "/p/x?v=2"), "api"],
			[get(fields.replace("yes", "no"), "/p/x?v=2"), "api"],
			[get(fields.replace("X-C", "X-E"), "/p/x?v=2"), "api"],
			[get(fields, "/p/x?v=2").replace("GET", "DELETE"), "api"],
		];
		for (const [request, body] of cases) assert.equal((await tested.ask(request)).body.toString(), body, request);
	});

	it("by source takes the requests of that service alone", async (t) => {
		const { tested } = await routed(
			t,
			`{ name: others, match: { host: api, from: [somebody] }, to: v1 }, { name: ours, match: { host: api, path: /ours, from: [tested] }, to: v2 }, ${REST}`,
		);
		assert.deepEqual([(await tested.ask(get())).body.toString(), (await tested.ask(get("", "/ours"))).body.toString()], ["api", "v2"]);
	});

	it("by percent takes about as many", async (t) => {
		const { tested } = await routed(t, `{ name: few, match: { host: api, percent: 10 }, to: v1 }, ${REST}`);
		const all = await bodies(tested, 1000);
		assert.ok(Math.abs(share(all, "v1") - 0.1) < 0.03, `${share(all, "v1")}`);
		assert.ok(Math.abs(share(all, "api") - 0.9) < 0.03);
	});
});

describe("a redirect", GUARD, () => {
	it("answers with where to go, and keeps the connection", async (t) => {
		const routes = "{ name: moved, match: { path: /old/** }, redirect: { status: 308, scheme: https, host: new.example.com, path: /new } }";
		const { tested, api } = await routed(t, routes);
		const client = await tested.client();
		client.methods.push("GET", "HEAD", "POST");
		client.send(get("", "/old/a?b=c"));
		const answer = await client.answer();
		assert.deepEqual([answer.status, fieldOf(answer, "location"), answer.body.length], [308, "https://new.example.com/new/a?b=c", 0]);
		client.send("HEAD /old/x HTTP/1.1\r\nHost: api\r\n\r\n");
		assert.equal((await client.answer(1)).status, 308);
		client.send("POST /old/x HTTP/1.1\r\nHost: api\r\nContent-Length: 2\r\n\r\nhi");
		assert.equal((await client.answer(2)).status, 308);
		assert.equal(api.seen.length, 0);
		assert.equal(await tested.metric("nexus_requests_total", { route: "moved", status_class: "3xx" }), 3);
	});
});

describe("a fixed answer", GUARD, () => {
	it("is given as the policy says, to HEAD without its body", async (t) => {
		const { tested, api } = await routed(
			t,
			'{ name: ping, match: { path: /ping }, respond: { status: 200, body: "pong ä", contentType: text/plain } }',
		);
		const answer = await tested.ask(get("", "/ping"));
		assert.deepEqual([answer.status, answer.body.toString("utf8"), fieldOf(answer, "content-type")], [200, "pong ä", "text/plain"]);
		const head = await tested.ask("HEAD /ping HTTP/1.1\r\nHost: api\r\n\r\n");
		assert.deepEqual([head.status, fieldOf(head, "content-length"), head.body.length], [200, "7", 0]);
		assert.equal(api.seen.length, 0);
	});

	it("of 204 has neither body nor length", async (t) => {
		const { tested } = await routed(t, "{ name: ping, match: { path: /ping }, respond: { status: 204 } }");
		const answer = await tested.ask(get("", "/ping"));
		assert.deepEqual([answer.status, fieldOf(answer, "content-length"), answer.body.length], [204, undefined, 0]);
	});

	it("to a request whose body is still to come closes the connection", async (t) => {
		const { tested } = await routed(t, "{ name: ping, match: { path: /ping }, respond: { status: 200, body: pong } }");
		const client = await tested.client();
		client.send(`POST /ping HTTP/1.1\r\nHost: api\r\nContent-Length: 100\r\n\r\n${get("", "/ping")}`);
		assert.equal(fieldOf(await client.answer(), "connection"), "close");
		await client.untilClosed();
		assert.equal(client.answers.length, 1);
	});
});

describe("a rewrite", GUARD, () => {
	it("changes host and the part of the path that matched, and keeps the query", async (t) => {
		const { tested, v1 } = await routed(t, "{ name: r, match: { host: api, path: /a/** }, to: v1, rewrite: { host: search.internal, path: /b } }");
		await tested.ask(get("", "/a/x%2Fy?q=1&q=2"));
		const request = v1.seen[0]?.request as StrictMessage;
		assert.deepEqual([request.target, valuesOf(request, "host")], ["/b/x%2Fy?q=1&q=2", ["search.internal"]]);
	});

	it("holds for each try", async (t) => {
		const endpoints = await group(t, 2, (nth) => (nth === 0 ? reply(503) : ok()));
		const routes = "{ name: r, match: { host: api, path: /a/** }, to: api, rewrite: { path: /b }, headers: { request: { set: { x-set: s } } } }";
		const tested = await startOutbound(t, endpoints.upstreams, `${NO_EJECTION}, retry: { ${AT_ONCE} }`, { routes });
		assert.equal((await tested.ask(get("", "/a/x"))).status, 200);
		assert.deepEqual(
			endpoints.seen.map(({ request }) => [request.target, valuesOf(request, "x-set")]),
			[
				["/b/x", ["s"]],
				["/b/x", ["s"]],
			],
		);
	});
});

describe("changes of fields", GUARD, () => {
	it("are made on the way there and back, and to nobody else's answer", async (t) => {
		const headers =
			"{ request: { set: { x-a: set }, add: { x-b: added }, remove: [x-c] }, response: { set: { x-d: set }, add: { x-e: added }, remove: [server, x-f] } }";
		const v = await group(t, 1, () => ok("v", "Server: s\r\nX-D: theirs\r\nX-E: theirs\r\nX-F: f\r\nX-G: g\r\n"));
		const tested = await startOutbound(t, v.upstreams, "", {
			routes: `{ name: h, match: { host: api, path: /h }, to: api, headers: ${headers} }, ${REST}`,
		});
		const answer = await tested.ask(get("X-A: mine\r\nX-A: mine too\r\nX-B: mine\r\nX-C: mine\r\nX-H: h\r\n", "/h"));
		const request = v.seen[0]?.request as StrictMessage;
		for (const [name, values] of [
			["x-a", ["set"]],
			["x-b", ["mine", "added"]],
			["x-c", []],
			["x-h", ["h"]],
		] as const)
			assert.deepEqual(valuesOf(request, name), values, name);
		for (const [name, values] of [
			["x-d", ["set"]],
			["x-e", ["theirs", "added"]],
			["server", []],
			["x-f", []],
			["x-g", ["g"]],
		] as const)
			assert.deepEqual(valuesOf(answer, name), values, name);
		const other = await tested.ask(get("X-C: mine\r\n", "/other"));
		assert.deepEqual(
			[valuesOf(other, "server"), valuesOf(other, "x-d"), valuesOf(v.seen[1]?.request as StrictMessage, "x-c")],
			[["s"], ["theirs"], ["mine"]],
		);
	});
});

describe("retry of a route", GUARD, () => {
	it("goes before that of its upstream, which goes on for the others", async (t) => {
		const endpoints = await group(t, 3, () => reply(503));
		const routes = `{ name: once, match: { host: api, path: /once }, to: api, retry: { attempts: 0 } }, ${REST}`;
		const tested = await startOutbound(t, endpoints.upstreams, `${NO_EJECTION}, retry: { ${AT_ONCE} }`, { routes });
		await tested.ask(get("", "/once"));
		assert.equal(endpoints.seen.length, 1);
		await tested.ask(get("", "/other"));
		assert.equal(endpoints.seen.length, 4);
		assertAllReturned(tested);
	});
});

describe("policies between services", GUARD, () => {
	it("act where `from` names this one, and only for what the upstream does not say itself", async (t) => {
		const endpoints = await group(t, 3, () => reply(503));
		const policies = `policies:\n  - { name: others, from: somebody, to: api, retry: { attempts: 0 } }\n  - { name: ours, from: [tested], to: api, retry: { attempts: 1, ${AT_ONCE} }, timeout: { request: 3s } }\n`;
		const tested = await startOutbound(t, endpoints.upstreams, `${NO_EJECTION}, timeout: { request: 7s }`, {
			more: policies,
			clock: new FakeClock(),
		});
		await tested.ask(get());
		assert.equal(endpoints.seen.length, 2);
		assert.equal(fieldOf(endpoints.seen[0]?.request as StrictMessage, "x-nexus-deadline-ms"), "7000");
	});
});

describe("what leads nowhere", GUARD, () => {
	it("is refused with no_route, whatever is configured", async (t) => {
		const { tested } = await routed(t, "{ name: m, match: { host: elsewhere }, to: v1 }");
		const answer = await tested.ask(get("", "/", "nobody"));
		assert.deepEqual([answer.status, reasonOf(answer)], [404, "no_route"]);
		assert.equal((await tested.ask(get("", "/", "elsewhere"))).body.toString(), "v1");
	});
});
