import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import type { OutlierPolicy } from "../../../src/policy/resilience-policy.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { checkModel, oneOf, whole } from "../model-check.ts";
import { QUIET, watched } from "./support.ts";

type Op =
	| readonly ["status", string, number, number]
	| readonly ["local", string, number]
	| readonly ["wait", number]
	| readonly ["hosts", readonly string[]]
	| readonly ["healthy", string]
	| readonly ["policy", Partial<OutlierPolicy>];

interface ModelHost {
	key: string;
	/** Of each request of this interval since it takes part: 0 for no answer. */
	results: number[];
	/** The newest results since the last ejection or since each threshold was reached. */
	rows: { any: number; gateway: number; local: number };
	ejection: { atMs: number; jitterMs: number } | undefined;
	count: number;
	factor: number;
	rate: number;
}

const KEYS = ["a", "b", "c", "d", "e", "f"];

/** Outlier detection by its description, with nothing kept that could be worked out. */
class Model {
	readonly told: string[] = [];
	policy: OutlierPolicy;
	hosts: ModelHost[] = [];
	average = -1;
	threshold = -1;
	withheld = 0;
	#nowMs = 0;
	#tickMs = Infinity;
	readonly #rng: () => number;

	constructor(policy: OutlierPolicy, rng: () => number) {
		this.policy = policy;
		this.#rng = rng;
	}

	get #on(): boolean {
		return this.policy.enabled && this.hosts.length > 0;
	}

	of(key: string): ModelHost | undefined {
		return this.hosts.find((host) => host.key === key);
	}

	setHosts(keys: readonly string[]): void {
		const was = this.#on;
		const kept = this.hosts.filter((host) => keys.includes(host.key));
		const fresh = keys.filter((key) => this.of(key) === undefined);
		this.hosts = [...kept, ...fresh.map((key) => ({ key, results: [], rows: zero(), ejection: undefined, count: 0, factor: 0, rate: -1 }))];
		this.#clockwork(was, false);
	}

	configure(policy: OutlierPolicy): void {
		const [was, before] = [this.#on, this.policy];
		this.policy = policy;
		if (before.enabled !== policy.enabled) {
			for (const host of this.hosts) {
				if (host.ejection !== undefined) this.release(host, "policy");
				Object.assign(host, { results: [], rows: zero(), factor: 0, rate: -1 });
			}
			this.average = this.threshold = -1;
		}
		this.#clockwork(was, before.intervalMs !== policy.intervalMs);
	}

	result(key: string, status: number): void {
		const host = this.of(key);
		if (host === undefined || host.ejection !== undefined || !this.policy.enabled) return;
		host.results.push(status);
		const gateway = status === 0 || (status >= 502 && status <= 504);
		host.rows.local = status === 0 ? host.rows.local + 1 : 0;
		host.rows.gateway = gateway ? host.rows.gateway + 1 : 0;
		host.rows.any = failed(status) ? host.rows.any + 1 : 0;
		const rules = [
			["local", this.policy.consecutiveLocalOriginFailures, "consecutive_local_origin_failures"],
			["gateway", this.policy.consecutiveGatewayFailures, "consecutive_gateway_failures"],
			["any", this.policy.consecutiveFailures, "consecutive_failures"],
		] as const;
		for (const [row, most, cause] of rules) {
			const concerned = row === "local" ? status === 0 : row === "gateway" ? gateway : failed(status);
			if (!concerned || most === 0 || host.rows[row] < most || host.ejection !== undefined) continue;
			host.rows[row] = 0;
			this.#eject(host, cause);
		}
	}

	release(host: ModelHost, by: string): void {
		host.ejection = undefined;
		this.told.push(`returned ${host.key} ${by} ${host.count}`);
	}

	wait(ms: number): void {
		const untilMs = this.#nowMs + ms;
		while (this.#tickMs <= untilMs) {
			this.#nowMs = this.#tickMs;
			this.#tick();
			this.#tickMs = this.#nowMs + this.policy.intervalMs;
		}
		this.#nowMs = untilMs;
	}

	#clockwork(was: boolean, restart: boolean): void {
		if (!this.#on) this.#tickMs = Infinity;
		else if (!was || restart) this.#tickMs = this.#nowMs + this.policy.intervalMs;
	}

	#tick(): void {
		for (const host of this.hosts) {
			if (host.ejection === undefined) host.factor = Math.max(0, host.factor - 1);
			else if (this.#nowMs + 1 >= host.ejection.atMs + this.#lengthMs(host)) this.release(host, "time");
		}
		const { successRate, failurePercentage } = this.policy;
		const rated = this.hosts
			.filter((host) => host.results.length > 0 && host.ejection === undefined)
			.map((host) => ({ host, n: host.results.length, rate: (100 * host.results.filter((status) => !failed(status)).length) / host.results.length }))
			.sort((a, b) => a.rate - b.rate);
		for (const host of this.hosts) host.rate = -1;
		for (const rule of [successRate, failurePercentage]) {
			for (const { host, n, rate } of rated) if (rule !== undefined && n >= rule.requestVolume) host.rate = rate;
		}
		this.average = this.threshold = -1;
		const enough = rated.filter(({ n }) => n >= (successRate?.requestVolume ?? Infinity));
		if (successRate !== undefined && enough.length > 0 && enough.length >= successRate.minHosts) {
			this.average = enough.reduce((sum, { rate }) => sum + rate, 0) / enough.length;
			const variance = enough.reduce((sum, { rate }) => sum + (rate - this.average) ** 2, 0) / enough.length;
			this.threshold = this.average - successRate.stdevFactor * Math.sqrt(variance);
			for (const { host, rate } of enough) if (rate < this.threshold) this.#eject(host, "success_rate");
		}
		const many = rated.filter(({ n }) => n >= (failurePercentage?.requestVolume ?? Infinity));
		if (failurePercentage !== undefined && many.length > 0 && many.length >= failurePercentage.minHosts) {
			for (const { host, rate } of many)
				if (100 - rate >= failurePercentage.threshold && host.ejection === undefined) this.#eject(host, "failure_percentage");
		}
		for (const host of this.hosts) host.results = [];
	}

	#eject(host: ModelHost, cause: string): void {
		const { baseEjectionTimeMs, maxEjectionTimeMs, maxEjectionPercent, jitterMs } = this.policy;
		const ejected = this.hosts.filter((one) => one.ejection !== undefined).length;
		const room = ejected === 0 ? maxEjectionPercent > 0 : (100 * (ejected + 1)) / this.hosts.length <= maxEjectionPercent;
		if (!room) {
			this.withheld++;
			return;
		}
		if (host.factor * baseEjectionTimeMs < maxEjectionTimeMs + baseEjectionTimeMs) host.factor++;
		host.ejection = { atMs: this.#nowMs, jitterMs: jitterMs > 0 ? this.#rng() * jitterMs : 0 };
		host.count++;
		host.results = [];
		host.rows = zero();
		this.told.push(`ejected ${host.key} ${cause} ${host.count} ${this.#lengthMs(host)}`);
	}

	#lengthMs({ factor, ejection }: ModelHost): number {
		const { baseEjectionTimeMs, maxEjectionTimeMs } = this.policy;
		return Math.min(baseEjectionTimeMs * factor, Math.max(baseEjectionTimeMs, maxEjectionTimeMs)) + (ejection?.jitterMs ?? 0);
	}
}

function failed(status: number): boolean {
	return status === 0 || (status >= 500 && status <= 599);
}

function zero(): ModelHost["rows"] {
	return { any: 0, gateway: 0, local: 0 };
}

function somePolicy(rng: () => number): OutlierPolicy {
	return {
		...QUIET,
		enabled: rng() < 0.9,
		consecutiveFailures: whole(rng, 0, 3),
		consecutiveGatewayFailures: whole(rng, 0, 3),
		consecutiveLocalOriginFailures: whole(rng, 0, 3),
		intervalMs: oneOf(rng, [1000, 1500]),
		baseEjectionTimeMs: oneOf(rng, [1000, 2500]),
		maxEjectionTimeMs: oneOf(rng, [500, 4000, 10_000]),
		jitterMs: oneOf(rng, [0, 0, 700]),
		maxEjectionPercent: oneOf(rng, [0, 10, 34, 50, 100]),
		successRate: rng() < 0.5 ? { minHosts: whole(rng, 0, 3), requestVolume: whole(rng, 0, 4), stdevFactor: oneOf(rng, [0, 0.5, 1.9]) } : undefined,
		failurePercentage:
			rng() < 0.5 ? { minHosts: whole(rng, 0, 3), requestVolume: whole(rng, 0, 4), threshold: oneOf(rng, [30, 50, 100]) } : undefined,
	};
}

function someOperation(rng: () => number): Op {
	const kind = rng();
	if (kind < 0.4) return ["status", oneOf(rng, KEYS), oneOf(rng, [200, 404, 500, 502, 503, 504, 600]), whole(rng, 1, 4)];
	if (kind < 0.55) return ["local", oneOf(rng, KEYS), whole(rng, 1, 3)];
	if (kind < 0.8) return ["wait", oneOf(rng, [1, 500, 999, 1000, 1001, 2500, 6000])];
	if (kind < 0.88) return ["hosts", KEYS.filter(() => rng() < 0.7)];
	if (kind < 0.95) return ["healthy", oneOf(rng, KEYS)];
	return ["policy", somePolicy(rng)];
}

/** Plays both and says where they part. */
function differs(policy: OutlierPolicy, operations: readonly Op[], seen: Map<string, number>): string | undefined {
	const clock = new FakeClock();
	const w = watched(policy, clock, KEYS, seededRng(99));
	const model = new Model(policy, seededRng(99));
	model.setHosts(KEYS);
	for (const [step, op] of operations.entries()) {
		switch (op[0]) {
			case "status":
				for (let i = 0; i < op[3]; i++) {
					if (model.of(op[1]) !== undefined) w.detector.host(op[1]).onStatus(op[2]);
					model.result(op[1], op[2]);
				}
				break;
			case "local":
				for (let i = 0; i < op[2]; i++) {
					if (model.of(op[1]) !== undefined) w.detector.host(op[1]).onLocalFailure();
					model.result(op[1], 0);
				}
				break;
			case "wait":
				clock.advance(op[1]);
				model.wait(op[1]);
				break;
			case "hosts":
				w.detector.setHosts(op[1]);
				model.setHosts(op[1]);
				break;
			case "healthy": {
				w.detector.onHealthy(op[1]);
				const host = model.of(op[1]);
				if (host?.ejection !== undefined) model.release(host, "health-check");
				break;
			}
			case "policy":
				w.detector.configure({ ...policy, ...op[1] });
				model.configure({ ...policy, ...op[1] });
		}
		const is = stateOf(w.told, w.detector.averages(), w.detector.withheld, clock.pendingTimers);
		const { average: successRateAverage, threshold } = model;
		const should = stateOf(model.told, { successRateAverage, threshold }, model.withheld, model.policy.enabled && model.hosts.length > 0 ? 1 : 0);
		if (is !== should) return `after operation ${step} it says\n${is}\nthe model\n${should}`;
		for (const host of model.hosts) {
			const view = w.detector.host(host.key).view();
			const same =
				view.ejected === (host.ejection !== undefined) &&
				view.ejections === host.count &&
				view.timeFactor === host.factor &&
				view.consecutiveFailures === host.rows.any &&
				Math.abs(view.successRate - host.rate) < 1e-9;
			if (!same) return `after operation ${step} host ${host.key} is ${JSON.stringify(view)}, in the model ${JSON.stringify(host)}`;
		}
		const ejected = model.hosts.filter((host) => host.ejection !== undefined).length;
		if (w.detector.ejected !== ejected) return `after operation ${step} ${w.detector.ejected} are ejected, in the model ${ejected}`;
	}
	for (const line of model.told) count(seen, line.split(" ")[2] ?? "");
	count(seen, "withheld", model.withheld);
	return undefined;
}

function count(seen: Map<string, number>, what: string, times = 1): void {
	seen.set(what, (seen.get(what) ?? 0) + times);
}

function stateOf(told: readonly string[], rates: { successRateAverage: number; threshold: number }, withheld: number, timers: number): string {
	return `${told.join("; ")} | mean ${rates.successRateAverage.toFixed(6)} threshold ${rates.threshold.toFixed(6)} | withheld ${withheld} | timers ${timers}`;
}

test("agrees with a simple model over 100,000 random sequences of answers, time, membership and policies", () => {
	const seen = new Map<string, number>();
	checkModel<OutlierPolicy, Op>({
		sequences: 100_000,
		seed: 1,
		config: somePolicy,
		operations: (rng) => Array.from({ length: whole(rng, 10, 30) }, () => someOperation(rng)),
		run: (policy, operations) => differs(policy, operations, seen),
	});
	// The sequences are worth something only if all that can happen does, and often.
	for (const cause of [
		"consecutive_failures",
		"consecutive_gateway_failures",
		"consecutive_local_origin_failures",
		"success_rate",
		"failure_percentage",
	])
		assert.ok((seen.get(cause) ?? 0) > 1000, `${cause}: ${seen.get(cause)}`);
	for (const by of ["time", "health-check", "policy"]) assert.ok((seen.get(by) ?? 0) > 1000, `${by}: ${seen.get(by)}`);
	assert.ok((seen.get("withheld") ?? 0) > 1000, `withheld: ${seen.get("withheld")}`);
});
