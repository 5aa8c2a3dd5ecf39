/** Randomness as a dependency, so that every choice can be replayed in a test (law 8). */

/** A number in [0, 1). */
export type Rng = () => number;

export const systemRng: Rng = Math.random;

/** mulberry32: small, full period 2^32, the same sequence on every machine for one seed. */
export function seededRng(seed: number): Rng {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}
