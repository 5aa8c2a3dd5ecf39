/** Rows 37-50 of the shared list of hostile behaviours: fields of one hop, fields that nobody may forge, and targets that lead elsewhere. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { HOPS_MAX } from "../../src/sidecar/exchange/hops.ts";
import { freePorts } from "../support/processes.ts";
import { ok, type RawUpstream, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { relayFaults, type StrictMessage, valuesOf } from "../support/strict-reader.ts";
import { assertReason, runInbound, runSidecar } from "./support.ts";

function only(upstream: RawUpstream): StrictMessage {
	assert.equal(upstream.requests.length, 1);
	return upstream.requests[0] as StrictMessage;
}

suite("fields of one hop", () => {
	test("and all that Connection names stay on it, both ways", async (t) => {
		const fields = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Hop: 1\r\nUpgrade: x\r\n";
		const upstream = await rawUpstream(t, () => ok("ok", `${fields}Connection: keep-alive, X-Hop\r\nX-Stays: 1\r\n`));
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`GET / HTTP/1.1\r\nHost: a\r\n${fields}Connection: keep-alive, x-hop\r\nX-Stays: 1\r\n\r\n`);
		const answer = await client.answer();
		for (const message of [answer, only(upstream)]) {
			assert.deepEqual(relayFaults(message, ""), []);
			assert.deepEqual([valuesOf(message, "x-hop"), valuesOf(message, "x-stays")], [[], ["1"]]);
		}
	});

	test("cannot be made of those that protect: a client nominates none of them away", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: secret\r\nCache-Control: no-store\r\n" +
				"Connection: close, Host, Content-Length, Transfer-Encoding, Authorization, Cache-Control, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, Via, traceparent\r\n\r\nok",
		);
		await client.answer();
		const request = only(upstream);
		assert.equal(request.body.toString(), "ok");
		for (const name of ["host", "authorization", "cache-control", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "via", "traceparent"])
			assert.equal(valuesOf(request, name).length, 1, name);
	});
});

suite("who the client is", () => {
	const forged =
		"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n" +
		"X-Forwarded-For: 7.7.7.7\r\nx_forwarded_for: 8.8.8.8\r\nX_Forwarded-For: 9.9.9.9\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 6.6.6.6\r\n";

	test("is what we see, not what it says: forwarding fields of a stranger are dropped, with _ for - as well", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(`GET / HTTP/1.1\r\nHost: a\r\n${forged}\r\n`);
		await client.answer();
		const request = only(upstream);
		assert.deepEqual([valuesOf(request, "x-forwarded-for"), valuesOf(request, "x-forwarded-proto")], [["127.0.0.1"], ["http"]]);
		for (const [name, value] of request.fields) assert.doesNotMatch(`${name}: ${value}`, /6\.6\.6\.6|7\.7|8\.8|9\.9|evil|https/);
	});

	test("is asked of a proxy that policy trusts, and of no other: its list grows by our line", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		for (const [trusted, expected] of [
			["127.0.0.0/8", ["1.2.3.4", "127.0.0.1"]],
			["10.0.0.0/8", ["127.0.0.1"]],
		] as const) {
			const sidecar = await runInbound(t, upstream.address, { more: `, trustedProxies: ["${trusted}"]` });
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n");
			await client.answer();
			const request = upstream.requests.at(-1) ?? assert.fail();
			assert.deepEqual(valuesOf(request, "x-forwarded-for"), expected);
			assert.deepEqual(valuesOf(request, "x-forwarded-proto"), [trusted.startsWith("127") ? "https" : "http"]);
		}
	});

	test("cannot be spoken of in the mesh's own fields, in either spelling", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send(
			"GET / HTTP/1.1\r\nHost: a\r\nX-Nexus-Identity: admin\r\nx-nexus-attempt: 9\r\nX_Nexus_Identity: admin\r\nx-nexus_deadline: 1\r\n\r\n",
		);
		await client.answer();
		// Deadline and attempt are ours to say, and can only make whoever reads them do less.
		const ours = new Map(only(upstream).fields.filter(([name]) => /nexus/i.test(name)));
		assert.deepEqual([...ours.keys()].sort(), ["x-nexus-attempt", "x-nexus-deadline-ms"]);
		assert.notEqual(ours.get("x-nexus-deadline-ms"), "1", "an alias is not believed");
	});

	test("a framing field with _ for - is refused", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		for (const alias of ["Content_Length: 5", "Transfer_Encoding: chunked"]) {
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send(`POST / HTTP/1.1\r\nHost: a\r\n${alias}\r\n\r\n`);
			assertReason(await client.answer(), 400, "bad_request");
		}
		assert.equal(upstream.connections.length, 0);
	});
});

suite("where a request goes", () => {
	const routes = (a: RawUpstream, b: RawUpstream): string => `
outbound:
  listen: 127.0.0.1:0
  routes:
    - { name: beta, match: { host: shop.test, headers: { x-beta: "1" } }, to: b }
    - { name: secret, match: { host: shop.test, path: /private/** }, to: b }
    - { name: shop, match: { host: shop.test }, to: a }
upstreams:
  a: { endpoints: [ { address: "${a.address}" } ] }
  b: { endpoints: [ { address: "${b.address}" } ] }
`;

	test("does not depend on case, port or trailing dot of the host, whose bytes pass unchanged", async (t) => {
		const [a, b] = [await rawUpstream(t, () => ok("a")), await rawUpstream(t, () => ok("b"))];
		const sidecar = await runSidecar(t, routes(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		const hosts = ["shop.test", "SHOP.test", "shop.test:80", "shop.test:8080", "shop.test.", "Shop.Test.:80"];
		for (const [i, host] of hosts.entries()) {
			client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
			assert.equal((await client.answer(i)).body.toString(), "a", host);
		}
		assert.deepEqual(
			a.requests.map((request) => valuesOf(request, "host")[0]),
			hosts,
		);
	});

	test("is decided over all values of a field that comes twice", async (t) => {
		const [a, b] = [await rawUpstream(t, () => ok("a")), await rawUpstream(t, () => ok("b"))];
		const sidecar = await runSidecar(t, routes(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Beta: 1\r\nX-Beta: 2\r\n\r\n");
		assert.equal((await client.answer(0)).body.toString(), "a");
	});

	test("is said by an absolute target, and the Host that came along is replaced by it", async (t) => {
		const [a, b] = [await rawUpstream(t, () => ok("a")), await rawUpstream(t, () => ok("b"))];
		const sidecar = await runSidecar(t, routes(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET http://shop.test/x?y HTTP/1.1\r\nHost: evil.test\r\n\r\n");
		assert.equal((await client.answer()).body.toString(), "a");
		const request = only(a);
		assert.deepEqual([request.target, valuesOf(request, "host")], ["/x?y", ["shop.test"]]);
	});

	test("is nowhere for a name that is not in the mesh", async (t) => {
		const [a, b] = [await rawUpstream(t, () => ok("a")), await rawUpstream(t, () => ok("b"))];
		const sidecar = await runSidecar(t, routes(a, b));
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
		assertReason(await client.answer(0), 404, "no_route");
		client.send("GET http://127.0.0.1/ HTTP/1.1\r\nHost: shop.test\r\n\r\n");
		assertReason(await client.answer(1), 404, "no_route");
	});

	test("is never the admin listener, our own listeners or a link-local address, even where passing on is allowed", async (t) => {
		const outside = await rawUpstream(t, () => ok("outside"));
		const [port = 0, admin = 0] = await freePorts(2);
		const sidecar = await runSidecar(t, `outbound: { listen: "127.0.0.1:${port}", passthrough: true }\n`, admin);
		const client = await rawClient(t, port);
		client.send(`GET http://${outside.address}/ HTTP/1.1\r\nHost: ${outside.address}\r\n\r\n`);
		assert.equal((await client.answer(0)).body.toString(), "outside");
		assert.equal(sidecar.port("admin"), admin);
		for (const host of [
			`127.0.0.1:${admin}`,
			`localhost:${admin}`,
			`127.9.9.9:${admin}`,
			`[::1]:${admin}`,
			`[::ffff:127.0.0.1]:${admin}`,
			`127.0.0.1:${port}`,
			`0.0.0.0:${admin}`,
			"169.254.169.254",
			"[::ffff:169.254.169.254]",
			"[::ffff:a9fe:a9fe]",
			"[fe80::1]",
		]) {
			const refused = await rawClient(t, port);
			refused.send(`GET /config HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
			const answer = await refused.answer();
			assert.ok([421, 503].includes(answer.status), `${host}: ${answer.startLine}`);
			assert.equal(valuesOf(answer, "x-nexus-reason").length, 1, host);
		}
	});

	test("is refused where the target has a fragment, a NUL or a backslash in its path", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		for (const target of ["/public#/../private", "/a\0", "/a\\..\\private", "/a b", "/\x80"]) {
			const client = await rawClient(t, sidecar.port("inbound"));
			client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
			assertReason(await client.answer(), 400, "bad_request");
		}
		assert.equal(upstream.connections.length, 0);
	});

	test("CONNECT is answered 405, as nothing here is a tunnel", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
		assertReason(await client.answer(), 405, "method_not_allowed");
		await client.untilClosed();
		assert.equal(client.answers.length, 1);
		assert.equal(upstream.connections.length, 0);
	});
});

suite("Max-Forwards", () => {
	test("of OPTIONS and TRACE is counted down, and ends the way at 0; of other methods it passes unchanged", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		const ask = (method: string, value: string): void => {
			client.send(`${method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: ${value}\r\n\r\n`);
		};
		ask("OPTIONS", "2");
		assert.equal((await client.answer(0)).status, 200);
		ask("TRACE", "0");
		assertReason(await client.answer(1), 508, "max_forwards");
		ask("GET", "0");
		assert.equal((await client.answer(2)).status, 200);
		ask("OPTIONS", "many");
		assert.equal((await client.answer(3)).status, 200);
		const connection = await upstream.connection(0);
		assert.deepEqual(connection.text.match(/max-forwards: .*/gi), ["max-forwards: 1", "Max-Forwards: 0", "Max-Forwards: many"]);
	});
});

suite("loops", () => {
	test("end with 508 after as many sidecars as the limit says", async (t) => {
		// The sidecar is its own application: each hop comes back to it.
		const free = await rawUpstream(t);
		await free.close();
		const sidecar = await runSidecar(t, `inbound: { listen: "${free.address}", application: "${free.address}" }\n`);
		const client = await rawClient(t, sidecar.port("inbound"));
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		assertReason(await client.answer(), 508, "loop_detected");
		assert.equal(sidecar.upstream("application").endpoints[0]?.requests, HOPS_MAX);
	});

	test("are counted over several Via lines, and other proxies in them do not count", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const sidecar = await runInbound(t, upstream.address);
		const client = await rawClient(t, sidecar.port("inbound"));
		const via = (names: readonly string[]): string => names.map((name) => `Via: 1.1 ${name}\r\n`).join("");
		client.send(`GET / HTTP/1.1\r\nHost: a\r\n${via(Array.from({ length: 100 }, () => "squid"))}\r\n`);
		assert.equal((await client.answer(0)).status, 200);
		client.send(`GET / HTTP/1.1\r\nHost: a\r\n${via(Array.from({ length: HOPS_MAX }, () => "nexus-x"))}\r\n`);
		assertReason(await client.answer(1), 508, "loop_detected");
	});
});
