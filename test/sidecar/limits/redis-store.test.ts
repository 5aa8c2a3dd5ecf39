/** When a store asks, and when it knows better: on a connection and a clock that the test moves. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LeaseQuestion } from "../../../src/limits/shared-store.ts";
import { LEASE_SCRIPT, LEASE_SCRIPT_SHA1 } from "../../../src/sidecar/limits/lease-script.ts";
import type { RedisConnection } from "../../../src/sidecar/limits/redis-connection.ts";
import { RedisStore } from "../../../src/sidecar/limits/redis-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const QUESTION: LeaseQuestion = { key: "k", tokens: 3, requestsPerSecond: 10, burst: 5, timeoutMs: 20 };

interface Asked {
	readonly what: readonly unknown[];
	answer(reply: unknown): void;
	fail(error: Error): void;
}

class Line implements RedisConnection {
	readonly asked: Asked[] = [];
	destroyed = false;
	readonly #lost: (detail: string) => void;

	constructor(lost: (detail: string) => void) {
		this.#lost = lost;
	}

	evalSha(sha1: string, key: string, parameters: readonly string[]): Promise<unknown> {
		return this.#ask([sha1, key, ...parameters]);
	}

	eval(script: string, key: string, parameters: readonly string[]): Promise<unknown> {
		return this.#ask([script, key, ...parameters]);
	}

	destroy(): void {
		if (this.destroyed) return;
		this.destroyed = true;
		for (const asked of this.asked) asked.fail(new Error("The client is closed"));
		this.#lost("the connection was lost");
	}

	#ask(what: readonly unknown[]): Promise<unknown> {
		return new Promise((answer, fail) => this.asked.push({ what, answer, fail }));
	}
}

interface Room {
	readonly clock: FakeClock;
	readonly store: RedisStore;
	readonly lines: Line[];
	readonly states: string[];
	/** Attempts that will fail from now on. */
	refuse: number;
	attempts: number;
}

function settle(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

async function room(refuse = 0): Promise<Room> {
	const clock = new FakeClock();
	const [lines, states]: [Line[], string[]] = [[], []];
	const here = { clock, lines, states, refuse, attempts: 0 };
	const connect = async (lost: (detail: string) => void): Promise<RedisConnection> => {
		here.attempts++;
		if (here.refuse-- > 0) throw Object.assign(new Error("connect ECONNREFUSED redis://:s3cret@host"), { code: "ECONNREFUSED" });
		const line = new Line(lost);
		lines.push(line);
		return line;
	};
	const onState = (name: string, available: boolean, detail: string): void => void states.push(`${name} ${available ? "there" : "away"}: ${detail}`);
	const store = new RedisStore({ connect, clock, rng: () => 0, name: "redis:6379", onState });
	await settle();
	return Object.assign(here, { store });
}

describe("a store over Redis", () => {
	test("asks by the digest of its script, and sends it where the server does not know it", async () => {
		const { store, lines } = await room();
		const [line] = lines;
		const lease = store.lease(QUESTION);
		assert.deepEqual(line?.asked[0]?.what, [LEASE_SCRIPT_SHA1, "k", "100000", "5", "3"]);
		line?.asked[0]?.fail(new Error("NOSCRIPT No matching script. Please use EVAL."));
		await settle();
		assert.deepEqual(line?.asked[1]?.what, [LEASE_SCRIPT, "k", "100000", "5", "3"]);
		line?.asked[1]?.answer([2, 1500]);
		assert.deepEqual(await lease, { kind: "granted", granted: 2, retryAfterMs: 1.5 });
	});

	test("says what went wrong without what it was given", async () => {
		const { store, lines } = await room();
		for (const [error, detail] of [
			[new Error("OOM command not allowed when used memory > 'maxmemory'."), "Redis: OOM"],
			[Object.assign(new Error("write EPIPE redis://:s3cret@host"), { code: "EPIPE" }), "Redis: EPIPE"],
			[new Error("cannot reach redis://:s3cret@host"), "the connection to Redis failed"],
		] as const) {
			const lease = store.lease(QUESTION);
			lines[0]?.asked.at(-1)?.fail(error);
			assert.deepEqual(await lease, { kind: "failed", detail });
		}
		for (const reply of ["OK", [], ["1", 2], [1]]) {
			const lease = store.lease(QUESTION);
			lines[0]?.asked.at(-1)?.answer(reply);
			assert.deepEqual(await lease, { kind: "failed", detail: "Redis gave a reply that is none of the script's" });
		}
	});

	test("is not asked again after a question that was not answered in time, until the answer comes", async () => {
		const { store, lines, clock, states } = await room();
		const leases = [store.lease(QUESTION), store.lease(QUESTION)];
		clock.advance(19);
		assert.equal(store.available, true);
		clock.advance(1);
		assert.equal(store.available, false);
		for (const lease of leases) assert.deepEqual(await lease, { kind: "failed", detail: "Redis did not answer within 20 ms" });
		assert.deepEqual(await store.lease(QUESTION), { kind: "failed", detail: "no connection to Redis" });
		assert.equal(lines[0]?.asked.length, 2);
		clock.advance(1500);
		lines[0]?.asked[0]?.answer([3, 0]);
		await settle();
		assert.equal(store.available, false, "one answer is still missing");
		lines[0]?.asked[1]?.answer([3, 0]);
		await settle();
		assert.equal(store.available, true);
		clock.advance(10_000);
		assert.equal(lines.length, 1);
		assert.deepEqual(states, ["redis:6379 there: connected", "redis:6379 away: it does not answer", "redis:6379 there: it answers again"]);
	});

	test("gives up a connection that has said nothing for 2 s, and makes a new one", async () => {
		const { store, lines, clock } = await room();
		void store.lease(QUESTION);
		clock.advance(20 + 1999);
		assert.equal(lines[0]?.destroyed, false);
		clock.advance(1);
		assert.equal(lines[0]?.destroyed, true);
		clock.advance(25);
		await settle();
		assert.equal(lines.length, 2);
		assert.equal(store.available, true);
		const lease = store.lease(QUESTION);
		lines[1]?.asked[0]?.answer([1, 0]);
		assert.deepEqual(await lease, { kind: "granted", granted: 1, retryAfterMs: 0 });
		clock.advance(10_000);
		assert.equal(lines[1]?.destroyed, false, "the old connection's silence is not the new one's");
	});

	test("tries again with growing pauses, says so once, and comes back", async () => {
		const here = await room(8);
		const pauses: number[] = [];
		for (let i = 0; i < 8; i++) {
			const attempts = here.attempts;
			let ms = 0;
			for (; here.attempts === attempts && ms < 5000; ms++) {
				here.clock.advance(1);
				await settle();
			}
			pauses.push(ms);
		}
		// Half of the whole pause: the random half is drawn as 0 here.
		assert.deepEqual(pauses, [25, 50, 100, 200, 400, 800, 1000, 1000]);
		assert.deepEqual(here.states, ["redis:6379 away: Redis: ECONNREFUSED", "redis:6379 there: connected"]);
		assert.equal(here.store.available, true);
	});

	test("answers at once what was under way when the connection is lost", async () => {
		const { store, lines } = await room();
		const lease = store.lease(QUESTION);
		lines[0]?.destroy();
		assert.equal((await lease).kind, "failed");
		assert.equal(store.available, false);
	});

	test("takes no more questions at a time than a healthy server could have", async () => {
		const { store, lines } = await room();
		for (let i = 0; i < 1024; i++) void store.lease(QUESTION);
		assert.equal(store.available, false);
		assert.deepEqual(await store.lease(QUESTION), { kind: "failed", detail: "no connection to Redis" });
		lines[0]?.asked[0]?.answer([1, 0]);
		await settle();
		assert.equal(store.available, true);
	});

	test("ends for good when it is closed, also while it connects", async () => {
		const here = await room();
		here.store.close();
		assert.equal(here.lines[0]?.destroyed, true);
		here.clock.advance(60_000);
		await settle();
		assert.equal(here.lines.length, 1);
		assert.equal(here.clock.pendingTimers, 0);
		const { promise, resolve } = Promise.withResolvers<RedisConnection>();
		const late = new RedisStore({ connect: () => promise, clock: here.clock, rng: () => 0, name: "late", onState: () => assert.fail() });
		late.close();
		let destroyed = false;
		const destroy = (): void => {
			destroyed = true;
		};
		resolve({ evalSha: () => assert.fail(), eval: () => assert.fail(), destroy });
		await settle();
		assert.equal(destroyed, true);
		assert.equal(late.available, false);
	});
});
