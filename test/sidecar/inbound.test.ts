/** From the mesh to the application: how it is reached, what it is told, and what happens while it is not up. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { HOPS_MAX } from "../../src/sidecar/exchange/hops.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { freePorts, temporaryFolder } from "../support/processes.ts";
import { type RawClient, rawClient } from "../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../support/strict-reader.ts";
import { type Echoed, echo, httpServer, runUntil, startSidecar, type TestSidecar } from "./support.ts";

async function before(t: TestContext, more = ""): Promise<TestSidecar> {
	const application = await httpServer(t, echo("application"));
	return startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "${application.address}"${more} }\n`);
}

async function exchange(
	t: TestContext,
	port: number,
	fields: string,
	line = "GET /a HTTP/1.1\r\nHost: tested",
): Promise<{ seen: Echoed; answer: StrictMessage }> {
	const client = await rawClient(t, port);
	const answer = await client.send(`${line}\r\n${fields}\r\n`).answer();
	assert.equal(answer.status, 200, answer.body.toString());
	return { seen: JSON.parse(answer.body.toString()) as Echoed, answer };
}

function reasonOf(answer: StrictMessage): string | undefined {
	return valuesOf(answer, "x-nexus-reason")[0];
}

describe("the application", { timeout: 60_000 }, () => {
	it("is reached over TCP, with the request as it came", async (t) => {
		const sidecar = await before(t);
		const { seen } = await exchange(
			t,
			sidecar.port("inbound"),
			"X-Order: 7\r\nContent-Length: 4\r\n\r\nbody",
			"PUT /a?b=c HTTP/1.1\r\nHost: shop:8080",
		);
		assert.deepEqual([seen.method, seen.url, seen.headers.host, seen.headers["x-order"], seen.body], ["PUT", "/a?b=c", "shop:8080", "7", "body"]);
	});

	it("is reached over a unix socket", async (t) => {
		const path = join(temporaryFolder(t, "unix"), "app.sock");
		const server = createServer(echo("unix"));
		t.after(() => {
			server.close();
			server.closeAllConnections();
		});
		await new Promise<void>((resolve) => server.listen(path, resolve));
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "unix:${path}" }\n`);
		assert.equal((await exchange(t, sidecar.port("inbound"), "")).seen.by, "unix");
		assert.equal(sidecar.upstream("application").endpoints[0]?.address, `unix:${path}`);
	});

	it("gets HTTP/1.1 with a Host from a client of HTTP/1.0 without one", async (t) => {
		const sidecar = await before(t);
		const { seen, answer } = await exchange(t, sidecar.port("inbound"), "", "GET /old HTTP/1.0");
		assert.equal(seen.headers.host, "tested");
		assert.equal(answer.version, "1.1");
		assert.deepEqual(valuesOf(answer, "connection"), ["close"]);
	});
});

describe("what the application is told about the client", { timeout: 60_000 }, () => {
	const FORGED = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";

	it("is our word alone where the client is nobody we know", async (t) => {
		const sidecar = await before(t);
		for (const fields of ["", FORGED]) {
			const { seen } = await exchange(t, sidecar.port("inbound"), fields);
			assert.equal(seen.headers["x-forwarded-for"], "127.0.0.1");
			assert.equal(seen.headers["x-forwarded-proto"], "http");
			for (const name of ["x-forwarded-host", "forwarded", "x-real-ip"]) assert.equal(seen.headers[name], undefined, name);
		}
	});

	it("grows by our word behind a proxy that we trust", async (t) => {
		const sidecar = await before(t, ", trustedProxies: [127.0.0.0/8]");
		const { seen } = await exchange(t, sidecar.port("inbound"), FORGED);
		assert.equal(seen.headers["x-forwarded-for"], "6.6.6.6, 127.0.0.1");
		assert.equal(seen.headers["x-forwarded-proto"], "https");
		assert.equal(seen.headers["x-forwarded-host"], "evil");
		const plain = await exchange(t, sidecar.port("inbound"), "");
		assert.deepEqual([plain.seen.headers["x-forwarded-for"], plain.seen.headers["x-forwarded-proto"]], ["127.0.0.1", "http"]);
	});

	it("follows a reload that trusts somebody else, on the connections that exist", async (t) => {
		const application = await httpServer(t, echo("application"));
		const policy = (trusted: string): string =>
			`inbound: { listen: "127.0.0.1:0", application: "${application.address}", trustedProxies: [${trusted}] }\n`;
		const sidecar = await startSidecar(t, policy("10.0.0.0/8"));
		const client = await rawClient(t, sidecar.port("inbound"));
		const forwarded = async (index: number): Promise<string | undefined> => {
			client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
			return (JSON.parse((await client.answer(index)).body.toString()) as Echoed).headers["x-forwarded-for"];
		};
		assert.equal(await forwarded(0), "127.0.0.1");
		sidecar.write(policy("127.0.0.0/8"));
		assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		assert.equal(await forwarded(1), "6.6.6.6, 127.0.0.1");
	});
});

describe("what belongs together", { timeout: 60_000 }, () => {
	it("gets an id and a trace of its own where the request brings none, another for each request", async (t) => {
		const sidecar = await before(t);
		const [one, two] = [await exchange(t, sidecar.port("inbound"), ""), await exchange(t, sidecar.port("inbound"), "")];
		for (const { seen } of [one, two]) {
			assert.match(seen.headers["x-request-id"] ?? "", /^[0-9a-f]{32}$/);
			assert.match(seen.headers.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
		}
		assert.notEqual(one.seen.headers["x-request-id"], two.seen.headers["x-request-id"]);
		assert.notEqual(one.seen.headers.traceparent, two.seen.headers.traceparent);
	});

	it("keeps the id and the trace that it brings", async (t) => {
		const sidecar = await before(t);
		const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
		const { seen } = await exchange(t, sidecar.port("inbound"), `X-Request-Id: order-7\r\nTraceparent: ${trace}\r\n`);
		assert.deepEqual([seen.headers["x-request-id"], seen.headers.traceparent], ["order-7", trace]);
	});

	it("stands in local answers too", async (t) => {
		const [port = 0] = await freePorts(1);
		const sidecar = await startSidecar(t, `inbound: { listen: "127.0.0.1:0", application: "127.0.0.1:${port}", pool: { pendingTimeout: 100ms } }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		const answer = await client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: order-7\r\n\r\n").answer();
		assert.equal((JSON.parse(answer.body.toString()) as Record<string, string>).requestId, "order-7");
		assert.deepEqual(valuesOf(answer, "x-request-id"), ["order-7"]);
	});
});

describe("loops", { timeout: 60_000 }, () => {
	it("leave a trace in Via, behind that of others", async (t) => {
		const sidecar = await before(t);
		assert.equal((await exchange(t, sidecar.port("inbound"), "")).seen.headers.via, "1.1 nexus-tested");
		assert.equal((await exchange(t, sidecar.port("inbound"), "Via: 1.0 fred\r\n")).seen.headers.via, "1.0 fred, 1.1 nexus-tested");
	});

	it("end after as many sidecars as the limit, in one Via line or many", async (t) => {
		const sidecar = await before(t);
		const passes = Array.from({ length: HOPS_MAX - 1 }, (_, i) => `1.1 nexus-s${i}`);
		await exchange(t, sidecar.port("inbound"), `Via: ${passes.join(", ")}\r\n`);
		await exchange(t, sidecar.port("inbound"), `Via: ${Array.from({ length: 50 }, () => "1.1 other").join(", ")}\r\n`);
		for (const fields of [
			`Via: ${[...passes, "1.1 nexus-last"].join(", ")}\r\n`,
			[...passes, "1.1 nexus-last"].map((hop) => `Via: ${hop}\r\n`).join(""),
		]) {
			const client = await rawClient(t, sidecar.port("inbound"));
			const answer = await client.send(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`).answer();
			assert.deepEqual([answer.status, reasonOf(answer)], [508, "loop_detected"]);
		}
	});

	it("end when a sidecar is its own upstream", async (t) => {
		const [port = 0] = await freePorts(1);
		const sidecar = await startSidecar(
			t,
			`outbound: { listen: "127.0.0.1:${port}" }
upstreams:
  loop: { endpoints: [ { address: "127.0.0.1:${port}" } ] }
`,
		);
		const client = await rawClient(t, port);
		const answer = await client.send("GET / HTTP/1.1\r\nHost: loop\r\n\r\n").answer();
		assert.deepEqual([answer.status, reasonOf(answer)], [508, "loop_detected"]);
		assert.equal(await sidecar.metric("nexus_requests_total", { upstream: "loop", status_class: "5xx" }), HOPS_MAX);
	});
});

describe("while the application is not up", { timeout: 60_000 }, () => {
	/** A sidecar on a clock that the test moves, and requests that have arrived in it. */
	async function held(t: TestContext, count: number): Promise<{ sidecar: TestSidecar; clock: FakeClock; port: number; clients: RawClient[] }> {
		const [port = 0] = await freePorts(1);
		const clock = new FakeClock();
		const sidecar = await startSidecar(
			t,
			`inbound: { listen: "127.0.0.1:0", application: "127.0.0.1:${port}", timeout: { request: 60s }, pool: { pendingTimeout: 10s } }\n`,
			{
				clock,
			},
		);
		const clients = await Promise.all(Array.from({ length: count }, () => rawClient(t, sidecar.port("inbound"))));
		for (const client of clients) client.send("POST /order HTTP/1.1\r\nHost: tested\r\nContent-Length: 5\r\n\r\nhello");
		const pool = (): { pending: number; connectFailures: number } | undefined => sidecar.upstream("application").endpoints[0]?.pool;
		while (pool()?.pending !== count || pool()?.connectFailures === 0) await new Promise((resolve) => setImmediate(resolve));
		return { sidecar, clock, port, clients };
	}

	it("requests are held back, and answered once it comes up, whatever their method", async (t) => {
		const { sidecar, clock, port, clients } = await held(t, 5);
		clock.advance(3_000);
		for (const client of clients) assert.equal(client.bytes, 0);
		await httpServer(t, echo("late riser"), port);
		const answers = Promise.all(clients.map((client) => client.answer()));
		await runUntil(answers, clock);
		for (const answer of await answers) {
			assert.equal(answer.status, 200);
			const seen = JSON.parse(answer.body.toString()) as Echoed;
			assert.deepEqual([seen.by, seen.body], ["late riser", "hello"]);
		}
		assert.equal(await sidecar.metric("nexus_requests_total", { direction: "inbound", status_class: "2xx" }), 5);
	});

	it("requests end with application_not_ready where it never comes, and say what the system said", async (t) => {
		const { sidecar, clock, clients } = await held(t, 2);
		const answers = Promise.all(clients.map((client) => client.answer()));
		await runUntil(answers, clock);
		for (const answer of await answers) {
			assert.deepEqual([answer.status, reasonOf(answer)], [503, "application_not_ready"]);
			assert.match((JSON.parse(answer.body.toString()) as Record<string, string>).detail ?? "", /ECONNREFUSED/);
		}
		assert.equal(await sidecar.metric("nexus_local_answers_total", { direction: "inbound", reason: "application_not_ready" }), 2);
	});
});
