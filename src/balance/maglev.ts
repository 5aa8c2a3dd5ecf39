/** Consistent hashing by a table, as Envoy builds it (maglev_lb.cc; Eisenbud et al., NSDI 2016): one look-up, nearly even shares. */
import type { Rng } from "../core/rng.ts";
import { type Hash64, Hash64Slot, hashModulo, xxh64Utf8 } from "../core/xxh64.ts";
import { sink } from "./due-heap.ts";
import type { Candidate, Picker } from "./picker.ts";

/** Envoy's; 20 MB. */
export const TABLE_SIZE_MAX = 5_000_011;

// With even weights one is nearly always enough; then the table is searched, which always ends.
const REHASHES_MAX = 4;

/**
 * Slot by slot the index of an endpoint, in shares of the weights. `size`: a prime 2..TABLE_SIZE_MAX (RangeError
 * otherwise: with another one some slots were never reached). With more endpoints than slots the last get none.
 */
export function buildMaglevTable(keys: readonly string[], weights: readonly number[], size: number): Uint32Array {
	if (!isPrime(size) || size > TABLE_SIZE_MAX) throw new RangeError(`table size ${size} is not a prime up to ${TABLE_SIZE_MAX}`);
	const total = weights.reduce((sum, weight) => sum + weight, 0);
	const parts = Float64Array.from(weights, (weight) => weight / total);
	const heaviest = parts.reduce((most, part) => Math.max(most, part), 0);
	const slot = new Hash64Slot();
	// Where each endpoint looks next, and how far it goes from there: its own permutation of all slots.
	const next = Uint32Array.from(keys, (key) => hashModulo(xxh64Utf8(key, slot, 0), size));
	const skips = Uint32Array.from(keys, (key) => hashModulo(xxh64Utf8(key, slot, 1), size - 1) + 1);
	const table = new Uint32Array(size).fill(VACANT);
	// Who is served in which turn: by `turn * n + i` in a heap, since most turns are nobody's where one weighs nearly all.
	const count = keys.length;
	const dueAt = Float64Array.from(keys, (_, i) => count + i);
	const heap = Uint32Array.from(keys, (_, i) => i);
	const targets = new Float64Array(count);
	for (let filled = 0; filled < size && count > 0; filled++) {
		const i = heap[0] as number;
		const skip = skips[i] as number;
		let at = next[i] as number;
		while (table[at] !== VACANT) at = step(at, skip, size);
		table[at] = i;
		next[i] = step(at, skip, size);
		targets[i] = (targets[i] as number) + heaviest;
		const turn = Math.floor((dueAt[i] as number) / count);
		dueAt[i] = Math.max(turn + 1, firstTurn(targets[i] as number, parts[i] as number)) * count + i;
		sink(heap, dueAt, 0);
	}
	return table;
}

export class MaglevPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #table: Uint32Array;
	readonly #rng: Rng;
	readonly #rehashed = new Hash64Slot();

	/** At least two endpoints and the weight of each. */
	constructor(endpoints: readonly E[], weights: readonly number[], size: number, rng: Rng) {
		const keys = endpoints.map((endpoint) => endpoint.key);
		this.#endpoints = endpoints;
		this.#table = buildMaglevTable(keys, weights, size);
		this.#rng = rng;
	}

	/** In place of `avoid` the one of the next attempts, which spreads its keys over all others. */
	pick(avoid?: E, hash?: Hash64): E | undefined {
		let at = this.#slot(hash, 0);
		let endpoint = this.#endpointAt(at);
		for (let attempt = 1; endpoint === avoid && attempt <= REHASHES_MAX; attempt++) {
			at = this.#slot(hash, attempt);
			endpoint = this.#endpointAt(at);
		}
		for (let passed = 1; endpoint === avoid && passed < this.#table.length; passed++) {
			at = at + 1 === this.#table.length ? 0 : at + 1;
			endpoint = this.#endpointAt(at);
		}
		return endpoint;
	}

	/** Envoy's chooseHost: whose the hash is at an attempt, counted from 0. */
	choose(hash: Hash64, attempt: number): E | undefined {
		return this.#endpointAt(this.#slot(hash, attempt));
	}

	#slot(hash: Hash64 | undefined, attempt: number): number {
		const size = this.#table.length;
		if (hash === undefined) return Math.floor(this.#rng() * size);
		return hashModulo(attempt === 0 ? hash : rehash(hash, attempt, this.#rehashed), size);
	}

	#endpointAt(slot: number): E | undefined {
		return this.#endpoints[this.#table[slot] as number];
	}
}

const VACANT = 0xffffffff;

/** hash ^ (2^64 - attempt), for attempts from 1: nearly all bits change. */
function rehash(hash: Hash64, attempt: number, into: Hash64Slot): Hash64 {
	into.hi = ~hash.hi >>> 0;
	into.lo = (hash.lo ^ -attempt) >>> 0;
	return into;
}

/** The first with `turn * part >= target`, as Envoy's comparison rounds: the heaviest is served each turn, one of a third of its weight each third. */
function firstTurn(target: number, part: number): number {
	let turn = Math.ceil(target / part);
	while (turn * part < target) turn++;
	while ((turn - 1) * part >= target) turn--;
	return turn;
}

function step(at: number, skip: number, size: number): number {
	const following = at + skip;
	return following >= size ? following - size : following;
}

function isPrime(value: number): boolean {
	if (!Number.isInteger(value) || value < 2) return false;
	for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false;
	return true;
}
