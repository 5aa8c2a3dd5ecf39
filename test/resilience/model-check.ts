/** Runs many random sequences of operations against a part and its reference model; a failure is made small before it is told. */
import assert from "node:assert/strict";
import { type Rng, seededRng } from "../../src/core/rng.ts";

export interface ModelCheck<Config, Op> {
	readonly sequences: number;
	/** Of the first sequence; the next ones count up. */
	readonly seed: number;
	config(rng: Rng): Config;
	/** Any subset of what it gives must be a sequence that makes sense. */
	operations(rng: Rng, config: Config): Op[];
	/** What differs, or undefined; runs everything anew each time. */
	run(config: Config, operations: readonly Op[]): string | undefined;
}

export function checkModel<Config, Op>(check: ModelCheck<Config, Op>): void {
	for (let i = 0; i < check.sequences; i++) {
		const seed = check.seed + i;
		const rng = seededRng(seed);
		const config = check.config(rng);
		const operations = check.operations(rng, config);
		if (check.run(config, operations) === undefined) continue;
		const small = shrink(operations, (fewer) => check.run(config, fewer) !== undefined);
		assert.fail(`seed ${seed}: ${check.run(config, small)}\nconfig ${JSON.stringify(config)}\noperations ${JSON.stringify(small)}`);
	}
}

/** The fewest operations, found by leaving out ever smaller runs of them, that still fail. */
export function shrink<Op>(operations: readonly Op[], fails: (fewer: readonly Op[]) => boolean): readonly Op[] {
	let current = operations;
	for (let size = Math.ceil(current.length / 2); size >= 1; ) {
		let removed = false;
		for (let at = 0; at < current.length; ) {
			const fewer = [...current.slice(0, at), ...current.slice(at + size)];
			if (fails(fewer)) {
				current = fewer;
				removed = true;
			} else at += size;
		}
		if (size > 1) size = Math.ceil(size / 2);
		else if (!removed) break;
	}
	return current;
}

/** A whole number from `from` to `to`, both included. */
export function whole(rng: Rng, from: number, to: number): number {
	return from + Math.floor(rng() * (to - from + 1));
}

export function oneOf<T>(rng: Rng, items: readonly T[]): T {
	return items[Math.floor(rng() * items.length)] as T;
}
