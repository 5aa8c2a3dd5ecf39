import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { silentLogger } from "../../src/core/log.ts";
import { seededRng } from "../../src/core/rng.ts";
import { HealthChecker, type HealthTarget } from "../../src/health/checker.ts";
import type { ProbeResult } from "../../src/health/probe.ts";
import type { HealthCheckPolicy } from "../../src/policy/snapshot.ts";
import { FakeClock } from "../support/fake-clock.ts";

const OK: ProbeResult = { ok: true };
const REFUSED: ProbeResult = { ok: false, error: "connect refused" };

interface Asked {
	readonly key: string;
	readonly atMs: number;
	readonly signal: AbortSignal;
	/** Gives the result and waits until the checker has taken it. */
	answer(result: ProbeResult): Promise<void>;
}

/** A checker whose probes end when, and as, the test says. */
function bench(overrides: Partial<HealthCheckPolicy> = {}, rng = seededRng(1)) {
	const clock = new FakeClock();
	const asked: Asked[] = [];
	const changes: string[] = [];
	const checker = new HealthChecker({
		policy: policy(overrides),
		upstream: "payments",
		clock,
		rng,
		log: silentLogger,
		onChange: (key, healthy, { lastError, consecutive, first }) => {
			changes.push(
				`${key} ${first ? "first " : ""}${healthy ? "healthy" : "unhealthy"} after ${consecutive}${lastError === "" ? "" : `: ${lastError}`}`,
			);
		},
		probe: (address, _options, _clock, signal) =>
			new Promise((resolve) => {
				const key = address.kind === "unix" ? address.path : address.host;
				const answer = async (result: ProbeResult) => {
					resolve(result);
					await settled();
				};
				asked.push({ key, atMs: clock.monotonicMs(), signal, answer });
			}),
	});
	/** Lets the next check fall due and answers it. */
	const round = async (result: ProbeResult) => {
		const before = asked.length;
		clock.advance(10_000);
		assert.equal(asked.length, before + 1);
		await asked.at(-1)?.answer(result);
	};
	return { checker, clock, asked, changes, round };
}

describe("HealthChecker", () => {
	it("checks the first endpoint at once and the others within a second", () => {
		const { checker, clock, asked } = bench({ intervalMs: 5_000 });
		checker.setEndpoints(targets(10));
		assert.equal(asked.length, 1);
		clock.advance(999);
		assert.equal(asked.length, 10);
		const times = asked.map(({ atMs }) => atMs);
		assert.deepEqual(
			times,
			Array.from({ length: 10 }, (_, i) => i * 100),
		);
		checker.stop();
	});

	it("spreads first checks over the interval where that is shorter", () => {
		const { checker, clock, asked } = bench({ intervalMs: 200 });
		checker.setEndpoints(targets(10));
		clock.advance(199);
		assert.equal(asked.length, 10);
		assert.equal(asked.at(-1)?.atMs, 180);
		checker.stop();
	});

	it("checks again an interval after the result, within 10 % either way, and not always alike", async () => {
		const { checker, clock, asked } = bench({ intervalMs: 1_000 });
		checker.setEndpoints(targets(1));
		const gaps: number[] = [];
		for (let i = 0; i < 100; i++) {
			const answeredAt = clock.monotonicMs();
			await asked.at(-1)?.answer(OK);
			clock.advance(899);
			assert.equal(asked.length, i + 1);
			clock.advance(201);
			assert.equal(asked.length, i + 2);
			gaps.push((asked.at(-1)?.atMs ?? 0) - answeredAt);
		}
		assert.ok(Math.min(...gaps) >= 900 && Math.max(...gaps) <= 1_100);
		assert.ok(Math.min(...gaps) < 920 && Math.max(...gaps) > 1_080);
		checker.stop();
	});

	it("is pending until the first result, which decides at once", async () => {
		const { checker, clock, asked, changes } = bench();
		checker.setEndpoints(targets(2));
		assert.deepEqual(checker.status("e0"), { health: "pending", lastError: "", consecutive: 0 });
		clock.advance(1_000);
		await asked[0]?.answer(OK);
		await asked[1]?.answer(REFUSED);
		assert.deepEqual(changes, ["e0 first healthy after 1", "e1 first unhealthy after 1: connect refused"]);
		assert.deepEqual(checker.status("e1"), { health: "unhealthy", lastError: "connect refused", consecutive: 1 });
		checker.stop();
	});

	it("needs the thresholds in a row for every later change, and tells each change once", async () => {
		const { checker, asked, changes, round } = bench({ unhealthyThreshold: 3, healthyThreshold: 2 });
		checker.setEndpoints(targets(1));
		await asked[0]?.answer(OK);
		for (const result of [REFUSED, REFUSED, OK, REFUSED, REFUSED]) await round(result);
		assert.deepEqual(changes, ["e0 first healthy after 1"]);
		for (const result of [REFUSED, REFUSED, OK, REFUSED, OK]) await round(result);
		assert.deepEqual(changes.slice(1), ["e0 unhealthy after 3: connect refused"]);
		await round(OK);
		await round(OK);
		assert.deepEqual(changes.slice(2), ["e0 healthy after 2: connect refused"]);
		checker.stop();
	});

	it("looks every second for a service that has not come up yet, for half a minute, and one success suffices", async () => {
		const { checker, clock, asked, changes } = bench({ intervalMs: 5_000 }, () => 0.5);
		checker.setEndpoints(targets(1));
		for (let i = 0; i < 30; i++) {
			await asked.at(-1)?.answer(REFUSED);
			clock.advance(1_000);
			assert.equal(asked.length, i + 2);
		}
		await asked.at(-1)?.answer(REFUSED);
		clock.advance(4_999);
		assert.equal(asked.length, 31);
		clock.advance(1);
		await asked.at(-1)?.answer(OK);
		assert.deepEqual(changes, ["e0 first unhealthy after 1: connect refused", "e0 healthy after 1: connect refused"]);
		checker.stop();
	});

	it("keeps state and schedule of what stays when the list changes", async () => {
		const { checker, clock, asked, changes } = bench({ intervalMs: 1_000 }, () => 0.5);
		const [a, b] = targets(2) as [HealthTarget, HealthTarget];
		checker.setEndpoints([a]);
		await asked[0]?.answer(OK);
		clock.advance(600);
		checker.setEndpoints([b, a]);
		assert.deepEqual(
			asked.map(({ key }) => key),
			["e0", "e1"],
		);
		clock.advance(400);
		assert.deepEqual(
			asked.map(({ key }) => key),
			["e0", "e1", "e0"],
		);
		assert.deepEqual(changes, ["e0 first healthy after 1"]);
		checker.stop();
	});

	it("goes on from what an earlier checker knew", async () => {
		const { checker, asked, changes, round } = bench({ unhealthyThreshold: 2 });
		const [target] = targets(1) as [HealthTarget];
		checker.setEndpoints([{ ...target, known: "healthy" }]);
		assert.equal(checker.status("e0")?.health, "healthy");
		await asked[0]?.answer(REFUSED);
		assert.deepEqual(changes, []);
		await round(REFUSED);
		assert.deepEqual(changes, ["e0 unhealthy after 2: connect refused"]);
		checker.stop();
	});

	it("ends the check of an endpoint that is gone and ignores what it still says", async () => {
		const { checker, clock, asked, changes } = bench();
		checker.setEndpoints(targets(1));
		checker.setEndpoints([]);
		assert.equal(asked[0]?.signal.aborted, true);
		await asked[0]?.answer(REFUSED);
		clock.advance(60_000);
		assert.deepEqual(changes, []);
		assert.equal(asked.length, 1);
		assert.equal(checker.status("e0"), undefined);
		assert.equal(clock.pendingTimers, 0);
	});

	it("ignores a late result of an endpoint that left and came back", async () => {
		const { checker, asked, changes } = bench();
		checker.setEndpoints(targets(1));
		checker.setEndpoints([]);
		checker.setEndpoints(targets(1));
		assert.equal(asked.length, 2);
		await asked[0]?.answer(REFUSED);
		assert.deepEqual(changes, []);
		assert.equal(checker.status("e0")?.health, "pending");
		await asked[1]?.answer(OK);
		assert.deepEqual(changes, ["e0 first healthy after 1"]);
		checker.stop();
	});

	it("is silent after stop, which may be called twice", async () => {
		const { checker, clock, asked, changes } = bench();
		checker.setEndpoints(targets(3));
		checker.stop();
		checker.stop();
		await asked[0]?.answer(OK);
		clock.advance(60_000);
		assert.deepEqual(changes, []);
		assert.equal(asked.length, 1);
		assert.equal(clock.pendingTimers, 0);
	});

	it("may be stopped from within onChange", async () => {
		const clock = new FakeClock();
		const told: string[] = [];
		const checker = new HealthChecker({
			policy: policy(),
			upstream: "payments",
			clock,
			rng: seededRng(1),
			log: silentLogger,
			onChange: (key) => {
				told.push(key);
				checker.stop();
			},
			probe: async () => OK,
		});
		checker.setEndpoints(targets(1));
		await settled();
		assert.deepEqual(told, ["e0"]);
		assert.equal(clock.pendingTimers, 0);
	});

	it("never runs more than 128 checks of 10,000 endpoints at once, and comes to all of them", async () => {
		const { checker, clock, asked, changes } = bench({ intervalMs: 1_000_000 });
		checker.setEndpoints(targets(10_000));
		clock.advance(1_000);
		assert.equal(asked.length, 128);
		for (let i = 0; i < 10_000; i++) {
			await asked[i]?.answer(OK);
			assert.equal(asked.length, Math.min(i + 129, 10_000));
		}
		assert.equal(new Set(asked.map(({ key }) => key)).size, 10_000);
		assert.equal(changes.length, 10_000);
		checker.stop();
	});
});

function policy(overrides: Partial<HealthCheckPolicy> = {}): HealthCheckPolicy {
	return {
		place: { file: "mesh.yaml", line: 1, column: 1 },
		kind: "tcp",
		path: "/healthz",
		host: undefined,
		headers: new Map(),
		statuses: [200],
		intervalMs: 5_000,
		timeoutMs: 1_000,
		unhealthyThreshold: 3,
		healthyThreshold: 2,
		...overrides,
	};
}

function targets(count: number): HealthTarget[] {
	return Array.from({ length: count }, (_, i) => ({ key: `e${i}`, address: { kind: "tcp", host: `e${i}`, port: 80 } }));
}

/** Promise reactions have run. */
function settled(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}
