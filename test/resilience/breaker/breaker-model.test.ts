import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import type { CircuitBreakerPolicy } from "../../../src/policy/resilience-policy.ts";
import { Breaker, type BreakerOutcome, type BreakerTransition, REJECTED } from "../../../src/resilience/breaker/breaker.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { breakerPolicy, tripPolicy } from "./policies.ts";
import { type Observation, ReferenceBreaker, type Ticket } from "./reference-breaker.ts";

const SEQUENCES = 100_000;
const OPERATIONS = 24;
// Repeat one sequence with BREAKER_SEED=n.
const ONLY_SEED = process.env.BREAKER_SEED;

test(`${SEQUENCES} random sequences of operations leave the breaker where a plain reference model is`, () => {
	const seen = new Set<string>();
	if (ONLY_SEED !== undefined) runSequence(Number(ONLY_SEED), seen);
	else for (let seed = 1; seed <= SEQUENCES; seed++) runSequence(seed, seen);
	// The sequences are worth their time only where they go every way.
	if (ONLY_SEED === undefined)
		assert.deepEqual([...seen].sort(), ["closed -> open", "half-open -> closed", "half-open -> open", "open -> closed", "open -> half-open"]);
});

function runSequence(seed: number, seen: Set<string>): void {
	const rng = seededRng(seed);
	const operations: string[] = [];
	try {
		new Pair(randomPolicy(rng), seed, rng, operations, seen).run();
	} catch (cause) {
		throw new Error(`seed ${seed} (BREAKER_SEED=${seed}) fails after:\n  ${operations.join("\n  ")}`, { cause });
	}
}

/** The breaker and its model, given the same operations. */
class Pair {
	readonly #rng: Rng;
	readonly #operations: string[];
	readonly #clock = new FakeClock();
	readonly #breaker: Breaker;
	readonly #model: ReferenceBreaker;
	readonly #tickets: { real: number; model: Ticket }[] = [];
	#changes = 0;
	#lastChange = "";

	constructor(policy: CircuitBreakerPolicy, seed: number, rng: Rng, operations: string[], seen: Set<string>) {
		this.#rng = rng;
		this.#operations = operations;
		operations.push(`new ${JSON.stringify(policy)}`);
		const onTransition = (transition: BreakerTransition): void => {
			this.#changes++;
			this.#lastChange = changeText(transition);
			seen.add(`${transition.from} -> ${transition.to}`);
		};
		this.#breaker = new Breaker(policy, { clock: this.#clock, rng: seededRng(seed), onTransition });
		this.#model = new ReferenceBreaker(policy, seededRng(seed));
	}

	run(): void {
		for (let i = 0; i < OPERATIONS; i++) {
			this.#step();
			this.#compare();
		}
		for (const { real } of this.#tickets) this.#breaker.settle(real, "ignored", 0, this.#clock.monotonicMs(), "");
		assert.equal(this.#breaker.view().underWay, 0);
		assert.ok(this.#clock.pendingTimers <= 1, "a timer was left behind");
		this.#breaker.dispose();
		assert.equal(this.#clock.pendingTimers, 0, "dispose left a timer");
	}

	#step(): void {
		const draw = this.#rng();
		if (draw < 0.4) this.#acquire();
		else if (draw < 0.8) this.#settle();
		else if (draw < 0.92) this.#advance();
		else if (draw < 0.97) this.#force();
		else this.#configure();
	}

	#acquire(): void {
		this.#operations.push("acquire");
		const real = this.#breaker.acquire();
		const model = this.#model.acquire();
		assert.equal(real === REJECTED, model === undefined);
		if (model !== undefined) this.#tickets.push({ real, model });
	}

	#settle(): void {
		const [ticket] = this.#tickets.splice(Math.floor(this.#rng() * this.#tickets.length), 1);
		if (ticket === undefined) return;
		const outcome = oneOf<BreakerOutcome>(this.#rng, ["success", "success", "failure", "failure", "failure", "ignored"]);
		const latencyMs = oneOf(this.#rng, [1, 100, 101, 500]);
		const error = `e${this.#operations.length}`;
		this.#operations.push(`settle ${ticket.real} ${outcome} ${latencyMs} ${error}`);
		this.#breaker.settle(ticket.real, outcome, latencyMs, this.#clock.monotonicMs(), error);
		this.#model.settle(ticket.model, outcome, latencyMs, error);
	}

	#advance(): void {
		const ms = oneOf(this.#rng, [1, 50, 100, 350, 1_000, 4_000]);
		this.#operations.push(`advance ${ms}`);
		this.#clock.advance(ms);
		this.#model.advance(ms);
	}

	#force(): void {
		const mode = oneOf<"open" | "closed" | "auto">(this.#rng, ["open", "closed", "auto", "auto"]);
		this.#operations.push(`force ${mode}`);
		this.#breaker.force(mode);
		this.#model.force(mode);
	}

	#configure(): void {
		const policy = randomPolicy(this.#rng);
		this.#operations.push(`configure ${JSON.stringify(policy)}`);
		this.#breaker.configure(policy);
		this.#model.configure(policy);
	}

	#compare(): void {
		const expected = this.#model.observe();
		const actual = this.#observe();
		for (const key in expected) {
			const name = key as keyof Observation;
			if (actual[name] !== expected[name]) assert.deepEqual(actual, expected);
		}
	}

	#observe(): Observation {
		const view = this.#breaker.view();
		const retryAfterMs = this.#breaker.retryAfterMs();
		return {
			state: this.#breaker.state,
			forced: this.#breaker.forced ?? "",
			rejects: view.state !== "closed" && retryAfterMs > 0,
			retryAfterMs,
			...view.counts,
			lastErrors: view.lastErrors.join(),
			trips: view.trips,
			probes: view.probes,
			underWay: view.underWay,
			changes: this.#changes,
			lastChange: this.#lastChange,
		};
	}
}

function changeText({ from, to, openForMs, counts, lastErrors }: BreakerTransition): string {
	const { consecutiveFailures, requests, failures, slowCalls } = counts;
	return `${from} -> ${to} for ${openForMs}: ${consecutiveFailures}/${requests}/${failures}/${slowCalls} ${lastErrors.join()}`;
}

function randomPolicy(rng: Rng): CircuitBreakerPolicy {
	const openForMs = oneOf(rng, [100, 350, 1_000]);
	return breakerPolicy({
		trip: tripPolicy({
			consecutiveFailures: oneOf(rng, [undefined, 1, 2, 3]),
			failureRate: oneOf(rng, [undefined, undefined, 0.5, 1]),
			slowCallRate: oneOf(rng, [undefined, undefined, 0.5]),
			slowCallMs: oneOf(rng, [100, 100, 400]),
			windowMs: oneOf(rng, [1_000, 1_000, 500]),
			minRequests: oneOf(rng, [1, 2, 4]),
		}),
		successThreshold: oneOf(rng, [1, 2, 3]),
		openForMs,
		maxOpenForMs: openForMs * oneOf(rng, [1, 3, 8]),
		jitter: oneOf(rng, [0, 0, 0.5]),
		halfOpenMaxConcurrent: oneOf(rng, [1, 2, 3]),
	});
}

function oneOf<T>(rng: Rng, choices: readonly T[]): T {
	return choices[Math.floor(rng() * choices.length)] as T;
}
