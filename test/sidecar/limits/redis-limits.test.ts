/** Shared limits on a real redis-server: exact together, and bearable while it is away. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { createClient } from "redis";
import { systemClock } from "../../../src/core/clock.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { type LimitSet, WAITING } from "../../../src/limits/limit-set.ts";
import { LimiterRegistry } from "../../../src/limits/limiter-registry.ts";
import type { LeaseQuestion } from "../../../src/limits/shared-store.ts";
import type { RateLimitPolicy } from "../../../src/policy/resilience-policy.ts";
import { RedisStores } from "../../../src/sidecar/limits/redis-stores.ts";
import { policyOf, subjectOf, Waiter } from "../../limits/support.ts";
import { eventually, temporaryFolder } from "../../support/processes.ts";
import { RedisServer, skipWithoutRedis } from "./redis-server.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const skipWithoutOpenssl = !hasOpenssl && process.env.NEXUS_TEST_STRICT !== "1" ? "openssl is not installed" : false;

const QUESTION: LeaseQuestion = { key: "nexus:limit:test", tokens: 10, requestsPerSecond: 100, burst: 30, timeoutMs: 5000 };

interface State {
	readonly store: string;
	readonly available: boolean;
	readonly detail: string;
}

class Sidecar {
	readonly states: State[] = [];
	readonly stores: RedisStores;
	readonly set: LimitSet;
	admitted = 0;
	limited = 0;

	constructor(
		t: { after(fn: () => void): void },
		url: string,
		overrides: Partial<RateLimitPolicy>,
		onFailure: "local" | "allow" | "deny" = "local",
		timeoutMs = 20,
	) {
		const onState = (store: string, available: boolean, detail: string): void => void this.states.push({ store, available, detail });
		this.stores = new RedisStores({ clock: systemClock, rng: systemRng, onState });
		const registry = new LimiterRegistry({ clock: systemClock, rng: systemRng, service: "checkout", stores: this.stores, onExceeded: () => {} });
		const shared = { redisUrl: url, timeoutMs, onFailure, sliceMs: 100 };
		this.set = registry.limitSet("inbound", [{ place: "inbound", policies: [policyOf({ key: [{ kind: "global" }], shared, ...overrides })] }]);
		t.after(() => registry.stop());
	}

	/** Whether it had to wait. */
	enter(): { waited: boolean; waiter: Waiter } {
		const waiter = new Waiter();
		const verdict = this.set.enter(subjectOf("a"), waiter, systemClock.monotonicMs());
		if (verdict === undefined) waiter.onAdmitted();
		else if (verdict !== WAITING) waiter.onLimited(verdict);
		void waiter.settled.then(() => {
			if (waiter.outcome === "admitted") this.admitted++;
			else this.limited++;
		});
		return { waited: verdict === WAITING, waiter };
	}

	get available(): boolean {
		return this.set.views()[0]?.shared?.available === true;
	}

	connected(): Promise<void> {
		return eventually("the store is there", async () => this.available);
	}
}

async function clientOf(t: TestContext, url: string) {
	const client = createClient({ url });
	// The server may end before it.
	client.on("error", () => {});
	t.after(() => client.destroy());
	await client.connect();
	return client;
}

describe("a limit shared over Redis", { skip: skipWithoutRedis }, () => {
	test("is one limit for two sidecars: together they admit rate x time + burst at five times the rate", async (t) => {
		const server = await RedisServer.start(t);
		const url = `redis://127.0.0.1:${server.port}`;
		// A burst of a second's worth outlasts any pause of this machine: what is admitted does not depend on when it is asked.
		const sidecars = [1, 2].map(() => new Sidecar(t, url, { requestsPerSecond: 1000, burst: 1000 }, "deny", 5000));
		for (const sidecar of sidecars) await sidecar.connected();
		const fromMs = performance.now();
		let asked = 0;
		let nowMs = fromMs;
		for (; nowMs < fromMs + 3000; nowMs = performance.now()) {
			for (; asked < (nowMs - fromMs) * 5; asked++) sidecars[asked % 2]?.enter();
			await new Promise((resolve) => setTimeout(resolve, 1));
		}
		await eventually("everybody has an answer", async () => sidecars.every(({ set }) => set.waiting === 0));
		const expected = 1000 + (performance.now() - fromMs);
		const admitted = sidecars.reduce((sum, sidecar) => sum + sidecar.admitted, 0);
		t.diagnostic(`${admitted} admitted of ${asked}, ${expected.toFixed(0)} expected, shares ${sidecars.map((s) => s.admitted).join(" and ")}`);
		assert.ok(admitted <= expected + 1, `${admitted} of ${expected}`);
		// What is under way in the last slice is not lost, but not counted either.
		assert.ok(admitted >= expected * 0.98 - 150, `${admitted} of ${expected}`);
		const questions = sidecars.flatMap(({ set }) => set.views()).reduce((sum, { shared }) => sum + (shared?.granted ?? 0) + (shared?.empty ?? 0), 0);
		assert.ok(questions < 150, `${questions} questions`);
	});

	test("is each sidecar's own while Redis is away, and shared again when it is back", async (t) => {
		const server = await RedisServer.start(t);
		const url = `redis://127.0.0.1:${server.port}/3`;
		const sidecars = [1, 2].map(() => new Sidecar(t, url, { requestsPerSecond: 0.01, burst: 3 }, "local", 5000));
		for (const sidecar of sidecars) await sidecar.connected();
		const askAll = async (): Promise<number> => {
			const before = sidecars.reduce((sum, { admitted }) => sum + admitted, 0);
			for (const sidecar of sidecars) for (let i = 0; i < 10; i++) await sidecar.enter().waiter.settled;
			return sidecars.reduce((sum, { admitted }) => sum + admitted, 0) - before;
		};
		assert.equal(await askAll(), 3, "before: three for both");
		await server.kill();
		await eventually("both know", async () => sidecars.every(({ available }) => !available));
		assert.equal(await askAll(), 6, "away: three for each");
		assert.ok(
			sidecars.every((sidecar) => !sidecar.enter().waited),
			"nobody waits for what is not there",
		);
		await server.start();
		for (const sidecar of sidecars) await sidecar.connected();
		// Nothing was stored on disk, so the bucket is full again; but both have been told to wait for the old one.
		for (const sidecar of sidecars) {
			assert.deepEqual(
				sidecar.states.map(({ available }) => available),
				[true, false, true],
			);
		}
		const fresh = [1, 2].map(() => new Sidecar(t, url, { requestsPerSecond: 0.01, burst: 3 }, "local", 5000));
		sidecars.splice(0, 2, ...fresh);
		for (const sidecar of fresh) await sidecar.connected();
		assert.equal(await askAll(), 3, "back: three for both");
	});

	test("costs its timeout once where Redis hangs, and nothing after that until it answers", async (t) => {
		const server = await RedisServer.start(t);
		const sidecar = new Sidecar(t, `redis://127.0.0.1:${server.port}`, { requestsPerSecond: 0.01, burst: 5 }, "allow");
		await sidecar.connected();
		server.hang();
		const first = sidecar.enter();
		assert.equal(first.waited, true);
		await first.waiter.settled;
		assert.equal(first.waiter.outcome, "admitted");
		assert.equal(sidecar.set.views()[0]?.shared?.lastFailure, "Redis did not answer within 20 ms");
		for (let i = 0; i < 100; i++) assert.equal(sidecar.enter().waited, false);
		await eventually("it is given up", async () => sidecar.states.length >= 2);
		for (let i = 0; i < 100; i++) assert.equal(sidecar.enter().waited, false);
		server.goOn();
		await sidecar.connected();
		const asked = sidecar.enter();
		assert.equal(asked.waited, true);
		await asked.waiter.settled;
		assert.equal(sidecar.set.views()[0]?.shared?.granted, 1);
	});

	test("refuses everything while Redis was never there, where the policy says deny", async (t) => {
		const server = await RedisServer.start(t);
		await server.kill();
		const sidecar = new Sidecar(t, `redis://127.0.0.1:${server.port}`, {}, "deny");
		const { waiter, waited } = sidecar.enter();
		assert.equal(waited, false);
		assert.ok(typeof waiter.outcome === "object");
		assert.equal(waiter.outcome.retryAfterMs, 100);
		await eventually("it says so", async () => sidecar.states.length > 0);
		assert.deepEqual(sidecar.states, [{ store: `127.0.0.1:${server.port}`, available: false, detail: "Redis: ECONNREFUSED" }]);
	});

	test("logs in, and says nothing of its password where that is wrong", async (t) => {
		const server = await RedisServer.start(t, ["--requirepass", "hush:hush"]);
		const right = new Sidecar(t, `redis://:hush%3Ahush@127.0.0.1:${server.port}`, {}, "deny");
		await right.connected();
		const wrong = new Sidecar(t, `redis://somebody:s3cret@127.0.0.1:${server.port}`, {}, "deny");
		await eventually("it says so", async () => wrong.states.length > 0);
		assert.deepEqual(wrong.states, [{ store: `127.0.0.1:${server.port}`, available: false, detail: "Redis: WRONGPASS" }]);
		const none = new Sidecar(t, `redis://127.0.0.1:${server.port}`, {}, "deny", 5000);
		await eventually("it says so", async () => none.states.length > 0);
		await none.enter().waiter.settled;
		assert.equal(none.limited, 1);
		assert.deepEqual(
			[...none.states.map(({ detail }) => detail), none.set.views()[0]?.shared?.lastFailure].filter((said) => said === "Redis: NOAUTH").length,
			1,
		);
	});

	test("speaks TLS to rediss://, and trusts no server that it cannot check", { skip: skipWithoutOpenssl }, async (t) => {
		const folder = temporaryFolder(t, "redis-tls");
		const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
		const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
		execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", cert, ...subject], {
			stdio: "ignore",
		});
		const tls = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no"];
		const server = await RedisServer.start(t, ["--tls-port", "PORT", ...tls]);
		const url = `rediss://127.0.0.1:${server.port}`;
		const distrustful = new Sidecar(t, url, {}, "deny");
		await eventually("it says so", async () => distrustful.states.length > 0);
		assert.deepEqual(distrustful.states[0]?.detail, "Redis: DEPTH_ZERO_SELF_SIGNED_CERT");
		assert.equal(distrustful.available, false);
		// What a process trusts is settled when it starts.
		const program = new URL("./lease-once.ts", import.meta.url).pathname;
		const said = execFileSync(process.execPath, [program, url], { env: { ...process.env, NODE_EXTRA_CA_CERTS: cert }, encoding: "utf8" });
		assert.deepEqual(JSON.parse(said), { kind: "granted", granted: 1, retryAfterMs: 0 });
	});

	test("goes on where Redis has forgotten the script", async (t) => {
		const server = await RedisServer.start(t);
		const sidecar = new Sidecar(t, `redis://127.0.0.1:${server.port}`, { requestsPerSecond: 0.01, burst: 3 }, "deny", 5000);
		await sidecar.connected();
		const client = await clientOf(t, `redis://127.0.0.1:${server.port}`);
		for (let i = 0; i < 3; i++) {
			await client.scriptFlush();
			await sidecar.enter().waiter.settled;
		}
		assert.equal(sidecar.admitted, 3);
		assert.equal(sidecar.set.views()[0]?.shared?.failed, 0);
	});
});

describe("the bucket in Redis", { skip: skipWithoutRedis }, () => {
	test("grants what there is, says when there is more, and expires when it is full", async (t) => {
		const server = await RedisServer.start(t);
		const url = `redis://127.0.0.1:${server.port}`;
		const stores = new RedisStores({ clock: systemClock, rng: systemRng, onState: () => {} });
		t.after(() => stores.keep(new Set()));
		const store = stores.open(url);
		assert.equal(stores.open(url), store, "one connection for all limits of a URL");
		await eventually("the store is there", async () => store.available);
		const client = await clientOf(t, url);

		const slow = { ...QUESTION, requestsPerSecond: 0.01 };
		assert.deepEqual(await store.lease(slow), { kind: "granted", granted: 10, retryAfterMs: 0 });
		const ttlMs = await client.pTTL(slow.key);
		assert.ok(ttlMs > 900_000 && ttlMs <= 1_000_001, `${ttlMs}`);
		assert.deepEqual(await store.lease({ ...slow, tokens: 15 }), { kind: "granted", granted: 15, retryAfterMs: 0 });
		const last = await store.lease(slow);
		assert.ok(last.kind === "granted");
		assert.equal(last.granted, 5);
		assert.ok(last.retryAfterMs > 90_000 && last.retryAfterMs <= 100_000);

		// As after a limit was made smaller, or the server's clock set back.
		await client.set(slow.key, "9e15");
		const ahead = await store.lease(QUESTION);
		assert.ok(ahead.kind === "granted");
		assert.equal(ahead.granted, 0);
		assert.ok(ahead.retryAfterMs <= 10);

		await client.del(slow.key);
		await client.lPush(slow.key, "not a bucket");
		assert.deepEqual(await store.lease(QUESTION), { kind: "failed", detail: "Redis: WRONGTYPE" });
		stores.keep(new Set());
		assert.equal(store.available, false);
		assert.deepEqual(await store.lease(QUESTION), { kind: "failed", detail: "no connection to Redis" });
	});
});
