import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import type { EndpointsPolicy } from "../../../src/policy/snapshot.ts";
import { createEndpointSource } from "../../../src/upstream/discovery/create-source.ts";
import { createResolver, type NameResolver, resolveEndpoints } from "../../../src/upstream/discovery/resolve.ts";
import { type DnsAnswer, DnsServer } from "../../support/dns-server.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { breath, follow } from "./support.ts";

const NAME = "payments.mesh.test";

/** A source that asks a real server on loopback, and a clock that lets it ask again. */
async function bench(t: TestContext, overrides: Partial<EndpointsPolicy & { kind: "dns" }> = {}, prepare: (server: DnsServer) => void = () => {}) {
	const server = await DnsServer.start();
	t.after(() => server.stop());
	prepare(server);
	const clock = new FakeClock();
	const policy: EndpointsPolicy = { kind: "dns", name: NAME, port: 8080, type: "A", refreshMs: 5_000, servers: [server.address], ...overrides };
	const jitter = seededRng(1);
	let begun = 1;
	let planned = 0;
	// The jitter is drawn once for each resolution that has ended.
	const rng = () => {
		planned++;
		return jitter();
	};
	const source = createEndpointSource(policy, { clock, rng, log: silentLogger });
	const ended = async (): Promise<void> => {
		while (planned < begun) await breath();
	};
	/** The next resolution begins, and is answered by `answer`. */
	const refresh = async (type: "A" | "AAAA" | "SRV", answer: DnsAnswer): Promise<void> => {
		await ended();
		server.set(type, NAME, answer);
		begun++;
		clock.advance(5_500);
		await ended();
	};
	return { server, clock, source, refresh, ended };
}

describe("DNS discovery", () => {
	it("takes the addresses of A records, in an order that does not depend on the server", async (t) => {
		const { source, refresh } = await bench(t, {}, (server) => server.set("A", NAME, a("10.0.0.2", "10.0.0.1")));
		const { next, told } = follow(t, source);
		assert.equal(await next(), "10.0.0.1:8080*1 10.0.0.2:8080*1");
		await refresh("A", a("10.0.0.1", "10.0.0.2"));
		await refresh("A", a("10.0.0.2", "10.0.0.1", "10.0.0.2"));
		await refresh("A", a("10.0.0.3", "10.0.0.1"));
		assert.equal(await next(), "10.0.0.1:8080*1 10.0.0.3:8080*1");
		assert.deepEqual(told, []);
	});

	it("takes the addresses of AAAA records", async (t) => {
		const { source } = await bench(t, { type: "AAAA" }, (server) => server.set("AAAA", NAME, { kind: "AAAA", addresses: ["::1", "fd00::2"] }));
		assert.equal(await follow(t, source).next(), "[::1]:8080*1 [fd00::2]:8080*1");
	});

	it("takes port and weight of SRV records, of the lowest priority alone", async (t) => {
		const { source } = await bench(t, { type: "SRV", port: undefined }, (server) => {
			server.set(
				"SRV",
				NAME,
				srv([10, 5, 9001, "one.mesh.test"], [10, 0, 9002, "Two.mesh.test."], [20, 100, 9003, "spare.mesh.test"], [0, 1, 9004, "."]),
			);
			server.set("A", "one.mesh.test", a("10.0.0.1"));
			server.set("A", "two.mesh.test", { kind: "empty" });
			server.set("AAAA", "two.mesh.test", { kind: "AAAA", addresses: ["fd00::2"] });
		});
		assert.equal(await follow(t, source).next(), "10.0.0.1:9001*5 [fd00::2]:9002*1");
	});

	it("scales SRV weights down to those of policy", async (t) => {
		const { source } = await bench(t, { type: "SRV", port: undefined }, (server) => {
			server.set("SRV", NAME, srv([1, 65_535, 1, "a.test"], [1, 6_554, 2, "a.test"], [1, 1, 3, "a.test"]));
			server.set("A", "a.test", a("10.0.0.1"));
		});
		assert.equal(await follow(t, source).next(), "10.0.0.1:1*1000 10.0.0.1:2*100 10.0.0.1:3*1");
	});

	it("keeps the addresses of an SRV target that cannot be resolved any more, and tells", async (t) => {
		const records = srv([1, 1, 80, "a.test"], [1, 1, 80, "b.test"]);
		const { server, source, refresh } = await bench(t, { type: "SRV", port: undefined }, (server) => {
			server.set("SRV", NAME, records);
			server.set("A", "a.test", a("10.0.0.1"));
			server.set("A", "b.test", a("10.0.0.2"));
		});
		const { next } = follow(t, source);
		assert.equal(await next(), "10.0.0.1:80*1 10.0.0.2:80*1");
		server.set("A", "a.test", a("10.0.0.9"));
		server.set("A", "b.test", { kind: "refused" });
		await refresh("SRV", records);
		assert.equal(await next(), "10.0.0.2:80*1 10.0.0.9:80*1");
		assert.equal(await next(), "fault: b.test: the name server refused the question");
	});

	for (const [answer, words] of [
		[{ kind: "nxdomain" }, `${NAME}: no such name (it must be written in full; search domains and /etc/hosts do not count)`],
		[{ kind: "empty" }, `${NAME}: the answer is empty`],
		[{ kind: "servfail" }, `${NAME}: the name server failed (SERVFAIL)`],
		[{ kind: "refused" }, `${NAME}: the name server refused the question`],
	] as const satisfies readonly (readonly [DnsAnswer, string])[]) {
		it(`keeps the last good list on ${answer.kind}, tells it once, and recovers`, async (t) => {
			const { source, refresh } = await bench(t, {}, (server) => server.set("A", NAME, a("10.0.0.1")));
			const { next, told } = follow(t, source);
			assert.equal(await next(), "10.0.0.1:8080*1");
			await refresh("A", answer);
			assert.equal(await next(), `fault: ${words}`);
			await refresh("A", answer);
			await refresh("A", answer);
			await refresh("A", a("10.0.0.1"));
			await refresh("A", answer);
			assert.equal(await next(), `fault: ${words}`);
			await refresh("A", a("10.0.0.2"));
			assert.equal(await next(), "10.0.0.2:8080*1");
			assert.deepEqual(told, []);
		});
	}

	it("begins with an empty list and the fault where nothing was ever good", async (t) => {
		const { source, refresh } = await bench(t);
		const { next } = follow(t, source);
		assert.equal(await next(), "");
		assert.match(await next(), /^fault: .*no such name/);
		await refresh("A", { kind: "servfail" });
		assert.match(await next(), /^fault: .*SERVFAIL/);
		await refresh("A", a("10.0.0.1"));
		assert.equal(await next(), "10.0.0.1:8080*1");
	});

	it("gives up on a server that does not answer, after five seconds", async (t) => {
		const { server, clock, source } = await bench(t, {}, (server) => server.set("A", NAME, { kind: "silent" }));
		const { next } = follow(t, source);
		await server.nextQuestion();
		clock.advance(5_000);
		assert.equal(await next(), "");
		assert.equal(await next(), `fault: ${NAME}: the name server does not answer`);
	});

	it("asks again after the refresh time, within 10 % either way", async (t) => {
		const { server, clock, source, ended } = await bench(t, { refreshMs: 60_000 }, (server) => server.set("A", NAME, a("10.0.0.1")));
		await follow(t, source).next();
		await ended();
		clock.advance(53_999);
		await breath();
		assert.equal(server.questions.length, 1);
		const asked = server.nextQuestion();
		clock.advance(12_001);
		await asked;
		assert.equal(server.questions.length, 2);
	});

	it("is silent after stop, also in the middle of a question", async (t) => {
		const { server, clock, source } = await bench(t, {}, (server) => server.set("A", NAME, { kind: "silent" }));
		const { told } = follow(t, source);
		await server.nextQuestion();
		source.stop();
		source.stop();
		await breath();
		clock.advance(60_000);
		await breath();
		assert.deepEqual(told, []);
		assert.equal(clock.pendingTimers, 0);
	});

	it("may be stopped by whoever it tells", async (t) => {
		const { clock, source } = await bench(t, {}, (server) => server.set("A", NAME, a("10.0.0.1")));
		await new Promise<void>((resolve) => {
			source.start(
				() => {
					source.stop();
					resolve();
				},
				() => {},
			);
		});
		await breath();
		assert.equal(clock.pendingTimers, 0);
	});

	it("tells that the name server is not there", async () => {
		const server = await DnsServer.start();
		const { address } = server;
		await server.stop();
		const result = await resolveEndpoints({ name: NAME, type: "A", port: 1 }, createResolver([address]), new Map());
		assert.deepEqual(result, { ok: false, fault: `${NAME}: the name server does not run, or cannot be reached` });
	});

	it("uses the same 1,000 of too many addresses each time, and tells", async () => {
		const addresses = Array.from({ length: 1_500 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
		const resolve = (list: string[]) => resolveEndpoints({ name: NAME, type: "A", port: 80 }, resolverOf({ resolve4: async () => list }), new Map());
		const [one, other] = [await resolve(addresses), await resolve([...addresses].reverse())];
		assert.ok(one.ok && other.ok);
		assert.equal(one.endpoints.length, 1_000);
		assert.deepEqual(one.endpoints, other.endpoints);
		assert.equal(one.fault, `${NAME}: 1500 endpoints; the first 1000 are used`);
	});

	it("asks for at most 16 SRV targets at a time, and for none after it was called off", async () => {
		const records = Array.from({ length: 100 }, (_, i) => ({ name: `t${i}.test`, port: 80, priority: 1, weight: 1 }));
		const outstanding: PromiseWithResolvers<string[]>[] = [];
		const resolver = resolverOf({
			resolveSrv: async () => records,
			resolve4: () => {
				const asked = Promise.withResolvers<string[]>();
				outstanding.push(asked);
				return asked.promise;
			},
		});
		const result = resolveEndpoints({ name: NAME, type: "SRV", port: undefined }, resolver, new Map());
		await breath();
		assert.equal(outstanding.length, 16);
		for (const asked of outstanding) asked.reject(Object.assign(new Error("cancelled"), { code: "ECANCELLED" }));
		assert.deepEqual(await result, { ok: false, fault: `${NAME}: the name server does not answer` });
		await breath();
		assert.equal(outstanding.length, 16);
	});
});

function a(...addresses: string[]): DnsAnswer {
	return { kind: "A", addresses };
}

function srv(...records: [priority: number, weight: number, port: number, target: string][]): DnsAnswer {
	return { kind: "SRV", records: records.map(([priority, weight, port, target]) => ({ priority, weight, port, target })) };
}

function resolverOf(some: Partial<NameResolver>): NameResolver {
	const none = () => Promise.reject(Object.assign(new Error("none"), { code: "ENODATA" }));
	return { resolve4: none, resolve6: none, resolveSrv: none, cancel() {}, ...some };
}
