/** An upstream with a known capacity behind a real bulkhead, on a clock that the test moves: so many servers, one queue, a service time. */
import { DeadlineWheel } from "../../../src/core/deadline-wheel.ts";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import type { ConcurrencyPolicy } from "../../../src/policy/resilience-policy.ts";
import { Bulkhead, type SlotWaiter } from "../../../src/resilience/concurrency/bulkhead.ts";
import { FakeClock } from "../../support/fake-clock.ts";

export interface SimulationOptions {
	readonly policy: ConcurrencyPolicy;
	readonly seed: number;
	/** Requests that it serves at a time. */
	readonly servers: number;
	/** Middle of the service times. */
	readonly serviceMs: number;
	/** Each sends its next request when the one before has ended. */
	readonly clients: number;
}

export class Simulation {
	readonly clock = new FakeClock();
	readonly wheel = new DeadlineWheel(this.clock);
	readonly bulkhead: Bulkhead;
	readonly rng: Rng;
	servers: number;
	serviceMs: number;
	/** Answers with an error at once. */
	failing = false;
	answered = 0;
	refused = 0;
	/** Of each answer since the last `clear`, upstream only. */
	latencies: number[] = [];
	/** Of each millisecond since then. */
	limits: number[] = [];
	#busy = 0;
	readonly #queue: (() => void)[] = [];
	readonly #limitMin: number;

	constructor({ policy, seed, servers, serviceMs, clients }: SimulationOptions) {
		this.rng = seededRng(seed);
		this.servers = servers;
		this.serviceMs = serviceMs;
		this.#limitMin = policy.limitMin;
		this.bulkhead = new Bulkhead(policy, { clock: this.clock, rng: seededRng(seed + 1) });
		for (let i = 0; i < clients; i++) this.addClient();
	}

	addClient(): void {
		new Client(this).send();
	}

	run(ms: number): this {
		for (let i = 0; i < ms; i++) {
			this.clock.advance(1);
			const { limit } = this.bulkhead.view();
			if (limit < this.#limitMin) throw new Error(`the limit is ${limit}, below ${this.#limitMin}`);
			this.limits.push(limit);
		}
		return this;
	}

	clear(): this {
		this.answered = 0;
		this.refused = 0;
		this.latencies = [];
		this.limits = [];
		return this;
	}

	get medianLimit(): number {
		return quantile(this.limits, 0.5);
	}

	latency(q: number): number {
		return quantile(this.latencies, q);
	}

	/** Between half and one and a half of the service time. */
	serve(done: () => void): void {
		if (this.failing) this.clock.setTimer(1, done);
		else if (this.#busy >= this.servers) this.#queue.push(() => this.#begin(done));
		else this.#begin(done);
	}

	#begin(done: () => void): void {
		this.#busy++;
		this.clock.setTimer(this.serviceMs * (0.5 + this.rng()), () => {
			this.#busy--;
			if (this.#busy < this.servers) this.#queue.shift()?.();
			done();
		});
	}
}

class Client implements SlotWaiter {
	readonly #simulation: Simulation;
	readonly slotDeadline;

	constructor(simulation: Simulation) {
		this.#simulation = simulation;
		this.slotDeadline = simulation.wheel.deadline(() => simulation.bulkhead.expire(this));
	}

	send(): void {
		const entry = this.#simulation.bulkhead.enter(this);
		if (entry === "entered") this.onSlot();
		else if (entry === "full") this.onNoSlot();
	}

	onSlot(): void {
		const simulation = this.#simulation;
		const fromMs = simulation.clock.monotonicMs();
		simulation.serve(() => {
			const latencyMs = simulation.clock.monotonicMs() - fromMs;
			simulation.answered++;
			simulation.latencies.push(latencyMs);
			simulation.bulkhead.leave(latencyMs, simulation.failing);
			this.send();
		});
	}

	onNoSlot(): void {
		this.#simulation.refused++;
		this.#simulation.clock.setTimer(10, () => this.send());
	}
}

function quantile(values: readonly number[], q: number): number {
	const sorted = Float64Array.from(values).sort();
	return sorted[Math.floor((sorted.length - 1) * q)] ?? Number.NaN;
}
