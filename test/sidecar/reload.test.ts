/** A reload touches what changed and nothing else, and a policy that cannot be had changes nothing. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { freePorts, isTaken } from "../support/processes.ts";
import { type RawClient, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { type Echoed, echo, httpServer, startSidecar, type TestSidecar } from "./support.ts";

function get(client: RawClient, host: string, index: number): Promise<Echoed> {
	client.send(`GET /${index} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
	return client.answer(index).then((answer) => {
		assert.equal(answer.status, 200, answer.body.toString());
		return JSON.parse(answer.body.toString()) as Echoed;
	});
}

function eventsOf(sidecar: TestSidecar, type: string): unknown[] {
	return sidecar.events.filter((event) => event.type === `nexus.mesh.policy.${type}`).map((event) => event.data);
}

/** Two upstreams with a port each for the outbound listener. */
async function pair(t: TestContext): Promise<{ a: string; b: string; policy: (a: string, b: string, more?: string) => string }> {
	const [one, two] = [await httpServer(t, echo("one")), await httpServer(t, echo("two"))];
	const policy = (a: string, b: string, more = ""): string => `outbound: { listen: "127.0.0.1:0" }
upstreams:
  a: { endpoints: [ { address: "${a}" } ]${more} }
  b: { endpoints: [ { address: "${b}" } ] }
`;
	return { a: one.address, b: two.address, policy };
}

describe("a reload", { timeout: 60_000 }, () => {
	it("by POST /reload acts on the next request of connections that exist, and tells what changed", async (t) => {
		const { a, b, policy } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		assert.equal((await get(client, "a", 0)).by, "one");
		sidecar.write(policy(b, b));
		const { status, body } = await sidecar.admin("POST", "/reload");
		assert.deepEqual([status, (body as { result: string }).result], [200, "applied"]);
		assert.equal((await get(client, "a", 1)).by, "two");
		assert.equal(await sidecar.metric("nexus_policy_version"), 2);
		assert.equal(await sidecar.metric("nexus_policy_reloads_total", { result: "applied" }), 1);
		const [applied] = eventsOf(sidecar, "applied") as { changed: Record<string, string[]> }[];
		assert.deepEqual(applied?.changed, { upstreams: ["a (changed)"] });
	});

	it("leaves connections, counters and turns of the other upstreams alone", async (t) => {
		const { a, b, policy } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		await get(client, "a", 0);
		await get(client, "b", 1);
		sidecar.write(policy(a, b, ", timeout: { request: 3s }, loadBalancing: random"));
		assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		await get(client, "a", 2);
		await get(client, "b", 3);
		for (const name of ["a", "b"]) {
			const [endpoint] = sidecar.upstream(name).endpoints;
			// Even the changed one keeps its connection: only how it is used is new.
			assert.deepEqual([endpoint?.requests, endpoint?.pool.connects, endpoint?.pool.open], [2, 1, 1], name);
			assert.equal(await sidecar.metric("nexus_requests_total", { upstream: name, status_class: "2xx" }), 2);
		}
		assert.equal(sidecar.upstream("a").loadBalancing, "random");
	});

	it("of comments and layout alone changes nothing", async (t) => {
		const { a, b, policy } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		sidecar.write(`# a comment\n${policy(a, b)}\n\n`);
		assert.equal((await sidecar.sidecar.reload()).kind, "unchanged");
		assert.deepEqual([await sidecar.metric("nexus_policy_version"), eventsOf(sidecar, "applied").length], [1, 0]);
	});

	it("lets a request in flight finish where it is, while its upstream leaves the policy", async (t) => {
		const upstream = await rawUpstream(t);
		const { b } = await pair(t);
		const sidecar = await startSidecar(
			t,
			`outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  a: { endpoints: [ { address: "${upstream.address}" } ] }\n`,
		);
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		const connection = await upstream.connection(0);
		await connection.request();
		connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
		sidecar.write(`outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  b: { endpoints: [ { address: "${b}" } ] }\n`);
		assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		connection.send("half");
		assert.equal((await client.answer(0)).body.toString(), "halfhalf");
		await connection.untilClosed();
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		assert.equal((await client.answer(1)).status, 404);
	});

	it("moves a listener: the new address serves at once, the old one takes nobody new and finishes what it has", async (t) => {
		const upstream = await rawUpstream(t);
		const [from = 0, to = 0] = await freePorts(2);
		const policy = (port: number): string => `inbound: { listen: "127.0.0.1:${port}", application: "${upstream.address}" }\n`;
		const sidecar = await startSidecar(t, `${policy(from)}`);
		const [busy, idle] = [await rawClient(t, from), await rawClient(t, from)];
		busy.send("GET /old HTTP/1.1\r\nHost: a\r\n\r\n");
		const connection = await upstream.connection(0);
		await connection.request();
		sidecar.write(policy(to));
		assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		await idle.untilClosed();
		assert.equal(await isTaken(from), false);
		const fresh = await rawClient(t, to);
		fresh.send("GET /new HTTP/1.1\r\nHost: a\r\n\r\n");
		const other = await upstream.connection(1);
		await other.request();
		for (const [one, client] of [
			[other, fresh],
			[connection, busy],
		] as const) {
			one.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
			assert.equal((await client.answer()).status, 200);
		}
		await busy.untilClosed();
		assert.equal(fresh.ended, false);
	});

	it("adds and removes listeners and sections", async (t) => {
		const { a, policy, b } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		const outbound = sidecar.port("outbound");
		sidecar.write(
			`inbound: { listen: "127.0.0.1:0", application: "${a}" }\nupstreams:\n  b: { listen: "127.0.0.1:0", endpoints: [ { address: "${b}" } ] }\n`,
		);
		// Without outbound nothing uses an upstream: a port of its own does.
		const result = await sidecar.sidecar.reload();
		assert.equal(result.kind, "applied", JSON.stringify(result));
		assert.equal(await isTaken(outbound), false);
		assert.equal((await get(await rawClient(t, sidecar.port("inbound")), "x", 0)).by, "one");
		assert.equal((await get(await rawClient(t, sidecar.port("b")), "x", 0)).by, "two");
	});
});

describe("a policy that cannot be had", { timeout: 60_000 }, () => {
	it("changes nothing, and is reported once in log, event, metric and /config, until it is mended", async (t) => {
		const { a, b, policy } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		await get(client, "a", 0);
		const bad = `${policy(a, b)}  c: { endpoints: [ { adress: "127.0.0.1:1" } ] }\nwhatever: 1\n`;
		for (let i = 0; i < 3; i++) {
			sidecar.write(bad);
			const { status, body } = await sidecar.admin("POST", "/reload");
			assert.equal(status, 422);
			const { faults } = body as { faults: { place: string; message: string; hint: string }[] };
			assert.equal(faults.length, 3, JSON.stringify(faults));
			for (const { place } of faults) assert.match(place, /policy\.yaml:\d+:\d+$/);
			assert.equal(faults[1]?.hint, "did you mean `address`?");
		}
		assert.equal((await get(client, "a", 1)).by, "one");
		assert.equal(sidecar.upstream("a").endpoints[0]?.pool.connects, 1);
		assert.equal(await sidecar.metric("nexus_policy_version"), 1);
		assert.equal(await sidecar.metric("nexus_policy_reloads_total", { result: "rejected" }), 3);
		assert.equal(eventsOf(sidecar, "rejected").length, 1);
		assert.equal((await sidecar.log()).filter(({ message }) => String(message).startsWith("policy rejected")).length, 1);
		const config = async (): Promise<{ version: number; rejected: { faults: unknown[] } | null }> =>
			(await sidecar.admin("GET", "/config")).body as { version: number; rejected: { faults: unknown[] } | null };
		assert.deepEqual([(await config()).version, (await config()).rejected?.faults.length], [1, 3]);
		// Another fault is news.
		sidecar.write(`${policy(a, b)}nonsense: 1\n`);
		assert.equal((await sidecar.sidecar.reload()).kind, "rejected");
		assert.equal(eventsOf(sidecar, "rejected").length, 2);
		// The last good one again: settled, and nothing had to change for it.
		sidecar.write(policy(a, b));
		assert.equal((await sidecar.sidecar.reload()).kind, "unchanged");
		assert.equal((await config()).rejected, null);
	});

	it("for a port that another process has leaves every listener and upstream as they were", async (t) => {
		const { a, b } = await pair(t);
		const [free = 0] = await freePorts(1);
		const taken = await httpServer(t, echo("other process"));
		const policy = (outbound: number, b1: string): string =>
			`outbound: { listen: "127.0.0.1:${outbound}" }\nupstreams:\n  a: { endpoints: [ { address: "${b1}" } ] }\n`;
		const [port = 0] = await freePorts(1);
		const sidecar = await startSidecar(t, policy(port, a));
		sidecar.write(`inbound: { listen: "127.0.0.1:${free}", application: "${b}" }\n${policy(taken.port, b)}`);
		const result = await sidecar.sidecar.reload();
		assert.equal(result.kind, "rejected");
		assert.match(JSON.stringify(result), /outbound cannot listen on 127\.0\.0\.1:\d+: the port is taken by another process/);
		assert.equal(await isTaken(free), false, "what could be bound is given back");
		const client = await rawClient(t, port);
		assert.equal((await get(client, "a", 0)).by, "one");
		assert.equal(await sidecar.metric("nexus_policy_version"), 1);
	});

	it("because it names another service or admin address says that it takes a restart", async (t) => {
		const { a, b, policy } = await pair(t);
		const sidecar = await startSidecar(t, policy(a, b));
		sidecar.write(`${policy(a, b)}trustDomain: other.local\n`);
		const result = await sidecar.sidecar.reload();
		assert.match(JSON.stringify(result), /trustDomain cannot change while the sidecar runs.*restart/);
	});
});

describe("a policy of 1,000 upstreams", { timeout: 120_000 }, () => {
	it("reloads under load without a failed request", async (t) => {
		const [one, two] = [await httpServer(t, echo("one")), await httpServer(t, echo("two"))];
		const policy = (version: number): string => {
			// Each reload: the upstreams in use change hands, one in ten of the others changes, one comes and one goes.
			const address = (n: number): string => (n < 10 ? [one, two][(n + version) % 2] : one)?.address ?? "";
			const lines = Array.from(
				{ length: 1000 },
				(_, n) => `  u${n === 999 ? `v${version}` : n}: { endpoints: [ { address: "${address(n)}", weight: ${n % 10 === version % 10 ? 2 : 1} } ] }`,
			);
			const routes = Array.from({ length: 100 }, (_, n) => `    - { name: r${n}, match: { host: "r${n}.test", path: /v${version}/** }, to: u${n} }`);
			return `outbound:\n  listen: "127.0.0.1:0"\n  routes:\n${routes.join("\n")}\nupstreams:\n${lines.join("\n")}\n`;
		};
		const sidecar = await startSidecar(t, policy(0));
		const port = sidecar.port("outbound");
		let isOver = false;
		t.after(() => {
			isOver = true;
		});
		const served = new Map<string, number>();
		const load = Array.from({ length: 50 }, async (_, i) => {
			const client = await rawClient(t, port);
			for (let n = 0; !isOver; n++) {
				const { by } = await get(client, `u${i % 10}`, n);
				served.set(by, (served.get(by) ?? 0) + 1);
			}
		});
		const failure = Promise.all(load);
		for (let version = 1; version <= 8; version++) {
			const before = [...served.values()].reduce((a, b) => a + b, 0);
			sidecar.write(policy(version));
			assert.equal((await sidecar.sidecar.reload()).kind, "applied");
			// Some hundred requests under each policy.
			await Promise.race([
				failure,
				(async () => {
					while ([...served.values()].reduce((a, b) => a + b, 0) < before + 300) await new Promise((resolve) => setImmediate(resolve));
				})(),
			]);
		}
		isOver = true;
		await failure;
		assert.ok((served.get("one") ?? 0) > 0 && (served.get("two") ?? 0) > 0);
		for (let n = 0; n < 10; n++) {
			assert.equal(await sidecar.metric("nexus_requests_total", { upstream: `u${n}`, status_class: "5xx" }), 0);
			assert.equal(await sidecar.metric("nexus_requests_active", { upstream: `u${n}` }), 0);
		}
	});
});
