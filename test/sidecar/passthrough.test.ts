/** What is not in the mesh: passed on where the policy says so, and never to where it must not go. */
import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { describe, it, type TestContext } from "node:test";
import { rawClient, rawUpstream } from "../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../support/strict-reader.ts";
import { type Echoed, echo, httpServer, startSidecar, type TestSidecar } from "./support.ts";

function start(t: TestContext, more = ""): Promise<TestSidecar> {
	return startSidecar(
		t,
		`inbound: { listen: "127.0.0.1:0", application: "127.0.0.1:1" }\noutbound: { listen: "127.0.0.1:0", passthrough: true }\n${more}`,
	);
}

async function get(t: TestContext, sidecar: TestSidecar, url: string): Promise<StrictMessage> {
	const client = await rawClient(t, sidecar.port("outbound"));
	return client.send(`GET ${url} HTTP/1.1\r\nHost: ignored\r\n\r\n`).answer();
}

function assertMisdirected(answer: StrictMessage): void {
	assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-reason")], [421, ["misdirected_request"]], answer.body.toString());
}

function ownAddress(): string | undefined {
	return Object.values(networkInterfaces())
		.flat()
		.find((own) => own !== undefined && own.family === "IPv4" && !own.internal)?.address;
}

describe("passthrough", { timeout: 60_000 }, () => {
	it("sends what the mesh does not know to where its authority says, by address and by name, over kept connections", async (t) => {
		const outside = await httpServer(t, echo("outside"));
		const sidecar = await start(t);
		for (const host of ["127.0.0.1", "localhost", "LOCALHOST"]) {
			const answer = await get(t, sidecar, `http://${host}:${outside.port}/a?b`);
			assert.equal(answer.status, 200, answer.body.toString());
			const seen = JSON.parse(answer.body.toString()) as Echoed;
			assert.deepEqual([seen.url, seen.headers.host], ["/a?b", `${host}:${outside.port}`]);
		}
		const [before] = [await new Promise<number>((resolve) => outside.server.getConnections((_error, count) => resolve(count)))];
		for (let i = 0; i < 5; i++) await get(t, sidecar, `http://127.0.0.1:${outside.port}/`);
		assert.equal(await new Promise<number>((resolve) => outside.server.getConnections((_error, count) => resolve(count))), before);
	});

	it("counts all of it as one upstream, however many hosts an application thinks of", async (t) => {
		const outside = await httpServer(t, echo("outside"));
		const sidecar = await start(t);
		for (let i = 1; i <= 20; i++) assert.equal((await get(t, sidecar, `http://127.0.0.${i}:${outside.port}/`)).status, i === 1 ? 200 : 503);
		assert.equal(await sidecar.metric("nexus_requests_total", { upstream: "passthrough", status_class: "2xx" }), 1);
		assert.equal(await sidecar.metric("nexus_requests_total", { upstream: "passthrough", status_class: "5xx" }), 19);
	});

	it("forgets the destinations unused for longest, beyond a few hundred", async (t) => {
		const outside = await rawUpstream(t, () => "HTTP/1.1 204 No Content\r\n\r\n");
		const sidecar = await start(t);
		const client = await rawClient(t, sidecar.port("outbound"));
		// Each is another authority, and all are the same server.
		const hosts = Array.from({ length: 300 }, (_, i) => `127.0.0.1:${"0".repeat(i)}${outside.port}`);
		for (const [i, host] of hosts.entries()) {
			client.send(`GET http://${host}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
			assert.equal((await client.answer(i)).status, 204);
		}
		await (await outside.connection(0)).untilClosed();
		assert.equal(outside.connections.length, 300);
		assert.ok(outside.connections.filter(({ ended }) => !ended).length <= 256);
	});

	it("serves the upstreams of the mesh first", async (t) => {
		const payments = await httpServer(t, echo("payments"));
		const sidecar = await start(t, `upstreams:\n  payments: { endpoints: [ { address: "${payments.address}" } ] }\n`);
		const answer = await get(t, sidecar, "http://payments/");
		assert.equal((JSON.parse(answer.body.toString()) as Echoed).by, "payments");
	});

	it("is off unless asked for", async (t) => {
		const outside = await httpServer(t, echo("outside"));
		const sidecar = await startSidecar(t, `outbound: { listen: "127.0.0.1:0" }\n`);
		const answer = await get(t, sidecar, `http://127.0.0.1:${outside.port}/`);
		assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-reason")], [404, ["no_route"]]);
	});
});

describe("passthrough refuses", { timeout: 60_000 }, () => {
	it("link-local addresses, where clouds keep credentials, in every spelling of them", async (t) => {
		const sidecar = await start(t);
		for (const host of ["169.254.169.254", "169.254.0.1:8080", "[fe80::1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]:80", "0.0.0.0", "[::]"]) {
			assertMisdirected(await get(t, sidecar, `http://${host}/latest/meta-data/`));
		}
	});

	it("the admin API and every listener of ours, on loopback and on the machine's own addresses", async (t) => {
		const sidecar = await start(t, `upstreams:\n  payments: { listen: "127.0.0.1:0", endpoints: [ { address: "127.0.0.1:1" } ] }\n`);
		const own = ownAddress();
		for (const listener of ["admin", "inbound", "outbound", "payments"]) {
			const hosts = ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", ...(own === undefined ? [] : [own, `[::ffff:${own}]`])];
			for (const host of hosts) assertMisdirected(await get(t, sidecar, `http://${host}:${sidecar.port(listener)}/config`));
		}
	});

	it("names that lead there, whatever the spelling", async (t) => {
		const sidecar = await start(t);
		const admin = sidecar.port("admin");
		// The last three are no addresses by grammar, and are addresses to the system's resolver.
		for (const host of [`localhost:${admin}`, `127.1:${admin}`, `2130706433:${admin}`, `0x7f000001:${admin}`, "169.254.43518"]) {
			const answer = await get(t, sidecar, `http://${host}/config`);
			assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-reason")], [503, ["connect_failed"]], host);
			assert.match(answer.body.toString(), /not reached through here/);
		}
	});

	it("a destination that was fine until a reload opened a listener of ours there", async (t) => {
		const outside = await httpServer(t, echo("outside"));
		const sidecar = await start(t);
		const url = `http://127.0.0.1:${outside.port}/`;
		assert.equal((await get(t, sidecar, url)).status, 200);
		outside.server.closeAllConnections();
		await new Promise((resolve) => outside.server.close(resolve));
		sidecar.write(`outbound: { listen: "127.0.0.1:0", passthrough: true }
upstreams:
  payments: { listen: "127.0.0.1:${outside.port}", endpoints: [ { address: "127.0.0.1:1" } ] }
`);
		assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		assertMisdirected(await get(t, sidecar, url));
	});

	it("a port that cannot be, and an authority that is none, and lives on", async (t) => {
		const sidecar = await start(t);
		for (const port of ["65536", "99999", "4294967376", "9".repeat(400)]) {
			assert.equal((await get(t, sidecar, `http://127.0.0.1:${port}/`)).status, 400);
		}
		assert.equal((await get(t, sidecar, "http://nobody.invalid:0/")).status, 503);
		const client = await rawClient(t, sidecar.port("outbound"));
		assert.equal((await client.send("GET / HTTP/1.0\r\n\r\n").answer()).status, 404);
	});
});
