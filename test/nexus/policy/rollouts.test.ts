/** Roll-outs on a clock of the test: what instances say while a stage is looked at, and a state that does not take a step. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Logger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { openMemoryLog } from "../../../src/nexus/log/memory-log.ts";
import { Policies } from "../../../src/nexus/policy/policies.ts";
import type { RolloutPlan } from "../../../src/nexus/policy/rollout-steps.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateFailed, StateStore } from "../../../src/nexus/state/state-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const AWAY: StateFailed = { ok: false, failure: "unavailable", detail: "the server is away" };
const PLAN: RolloutPlan = { stages: [{ instances: 1 }, { percent: 100 }], holdMs: 600_000, patienceMs: 60_000, minRequests: 20 };
const SERVICE = "checkout";

class House {
	readonly clock: FakeClock;
	readonly policies: Policies;
	readonly told: string[];
	readonly #cut: (isAway: boolean) => void;

	private constructor(clock: FakeClock, policies: Policies, told: string[], cut: (isAway: boolean) => void) {
		this.clock = clock;
		this.policies = policies;
		this.told = told;
		this.#cut = cut;
	}

	/** Three instances run version 1, and version 2 has come to one of them. */
	static async open(t: TestContext): Promise<House> {
		const clock = new FakeClock();
		const told: string[] = [];
		const warn = (message: string): void => void told.push(message);
		const logger: Logger = { debug() {}, info() {}, warn, error: warn };
		const opened = await openState({ engine: "memory" });
		assert.ok(opened.ok);
		let isAway = false;
		const store = new Proxy(opened.store, {
			get(target, name) {
				const value: unknown = Reflect.get(target, name, target);
				if (typeof value !== "function") return value;
				if (name !== "commit" && name !== "get") return value.bind(target) as unknown;
				return async (...args: unknown[]) => (isAway ? AWAY : ((await Reflect.apply(value, target, args)) as unknown));
			},
		}) as StateStore;
		const log = await openMemoryLog({ clock, log: logger });
		const policies = await Policies.open({ store, log, clock, rng: seededRng(1), logger });
		t.after(async () => {
			policies.close();
			await log.close();
			await store.close();
		});
		const house = new House(clock, policies, told, (wanted) => {
			isAway = wanted;
		});
		for (const [version, plan] of [
			[1, undefined],
			[2, PLAN],
		] as const) {
			const put = await policies.put(SERVICE, { text: text(version), author: "x", reason: "", expected: undefined, plan });
			assert.ok(put.ok && put.version === version);
			if (version === 1) for (const instance of ["a", "b", "c"]) await house.says(instance, 1);
		}
		await house.says(house.chosen, 2);
		return house;
	}

	get chosen(): string {
		return this.policies.head(SERVICE)?.rollout?.instances[0] ?? "";
	}

	get isUnderWay(): boolean {
		return this.policies.head(SERVICE)?.rollout !== null;
	}

	get last(): string {
		const last = this.policies.head(SERVICE)?.last;
		return `${last?.state}: ${last?.reason}`;
	}

	async says(instance: string, running: number): Promise<void> {
		const kept = await this.policies.report(SERVICE, instance, { running, sinceMs: 1, rejected: null });
		assert.ok(kept.ok);
	}

	cut(isAway: boolean): void {
		this.#cut(isAway);
	}

	/** All are heard meanwhile, and each look is over before the next one. */
	async pass(seconds: number, running = 2): Promise<void> {
		const { chosen } = this;
		for (let i = 0; i < seconds; i++) {
			this.clock.advance(1_000);
			for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve));
			if (!this.isUnderWay) return;
			if (i % 20 === 0) for (const instance of ["a", "b", "c"]) await this.says(instance, instance === chosen ? running : 1);
		}
	}
}

function text(version: number): string {
	return `upstreams: { pay: { endpoints: [{ address: 10.0.0.1:${version} }] } }\n`;
}

describe("a roll-out", () => {
	test("gives instances that are started again what is left of its patience, and no more", async (t) => {
		const house = await House.open(t);
		const { chosen } = house;
		await house.pass(120);
		for (const seconds of [30, 20]) {
			// As a container that is started again in its place: it asks with what it has, which is nothing.
			await house.says(chosen, 0);
			await house.pass(seconds, 0);
			assert.ok(house.isUnderWay, house.last);
			await house.says(chosen, 2);
			await house.pass(60);
			assert.ok(house.isUnderWay, house.last);
		}
		await house.says(chosen, 0);
		await house.pass(9, 0);
		assert.ok(house.isUnderWay, house.last);
		await house.pass(2, 0);
		assert.equal(house.last, `rolled_back: ${chosen} has not taken it in time`);
	});

	test("that cannot be written goes on once it can, and says so once; who takes it back meanwhile is told why that fails", async (t) => {
		const house = await House.open(t);
		const { chosen } = house;
		await house.says(chosen, 1);
		house.cut(true);
		const back = await house.policies.rollback(SERVICE, { to: undefined, author: "x", reason: "" });
		assert.deepEqual(back, { ok: false, fault: "not_kept", words: AWAY.detail });
		for (let i = 0; i < 90; i++) {
			house.clock.advance(1_000);
			for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve));
			if (i % 20 === 0) for (const each of ["a", "b", "c"]) await house.says(each, 1);
		}
		assert.ok(house.isUnderWay);
		assert.equal(house.told.filter((message) => /could not be written/.test(message)).length, 1, house.told.join("\n"));
		house.cut(false);
		await house.pass(2, 1);
		assert.equal(house.last, `rolled_back: ${chosen} has not taken it in time`);
	});

	test("knows which instances of its service are heard, by name", async (t) => {
		const house = await House.open(t);
		await house.policies.report("checkout-2", "z", { running: 1, sinceMs: 1, rejected: null });
		await house.says("B", 1);
		const names = (): string[] => [...house.policies.reports.of(SERVICE).keys()];
		assert.deepEqual(names(), ["B", "a", "b", "c"]);
		assert.equal(house.policies.reports.of(SERVICE).get(house.chosen)?.running, 2);
		await house.pass(90);
		assert.deepEqual(names(), ["a", "b", "c"]);
		assert.deepEqual([...house.policies.reports.of("checkout-2").keys()], []);
		await house.says("B", 1);
		assert.deepEqual(names(), ["B", "a", "b", "c"]);
	});

	test("has versions that are not taken for forgotten while the state cannot be read", async (t) => {
		const house = await House.open(t);
		house.cut(true);
		assert.deepEqual(await house.policies.version(SERVICE, 1), AWAY);
		const back = await house.policies.rollback(SERVICE, { to: 1, author: "x", reason: "" });
		assert.deepEqual(back, { ok: false, fault: "not_kept", words: AWAY.detail });
		house.cut(false);
		assert.deepEqual(await house.policies.version("no such name", 1), { ok: true, value: undefined });
		const found = await house.policies.version(SERVICE, 1);
		assert.equal(found.ok && found.value?.text, text(1));
	});
});
