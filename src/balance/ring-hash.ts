/** Consistent hashing on a ring, as Envoy builds it (ring_hash_lb.cc): a key stays with its endpoint while others come and go. */
import type { Rng } from "../core/rng.ts";
import { type Hash64, Hash64Slot, xxh64Utf8 } from "../core/xxh64.ts";
import type { Candidate, Picker } from "./picker.ts";

/** What a policy may ask for; Envoy admits 8 M. One thread does policy and traffic here, and this many are 0.3 s of its time. */
export const RING_SIZE_MAX = 2 ** 20;

// Very unequal weights make a ring grow by itself, 40 ms at most; the shares are still met within 1/131,072.
const RING_GROWN_MAX = 2 ** 17;

// Room for the index of an entry below the 32 upper bits of its position, in the 53 that a double keeps exactly.
const INDEX_RANGE = 2 ** 21;

/** Entries in the order of their positions; entry i stands at `hi[i] * 2^32 + lo[i]` and belongs to endpoint `owner[i]`. */
export interface HashRing {
	readonly hi: Uint32Array;
	readonly lo: Uint32Array;
	readonly owner: Uint32Array;
}

/**
 * Endpoint k stands at xxh64(`KEY_0`), xxh64(`KEY_1`) ... as often as its weight says: so many times that the lightest
 * gets a whole number and all together are at least `sizeMin`, 1..RING_SIZE_MAX (RangeError otherwise). Where that would
 * be more than 131,072 the lighter ones get fractions, summed up: an entry for some of them. O(n log n) in entries.
 */
export function buildRing(keys: readonly string[], weights: readonly number[], sizeMin: number): HashRing {
	if (!(Number.isInteger(sizeMin) && sizeMin >= 1 && sizeMin <= RING_SIZE_MAX))
		throw new RangeError(`ring size ${sizeMin} is not 1..${RING_SIZE_MAX}`);
	const total = weights.reduce((sum, weight) => sum + weight, 0);
	const lightest = weights.reduce((least, weight) => Math.min(least, weight / total), 1);
	const scale = Math.min(Math.ceil(lightest * sizeMin) / lightest, Math.max(sizeMin, RING_GROWN_MAX));
	// Rounding of the running sum may grant one more.
	const sizeMax = Math.ceil(scale) + 1;
	const hi = new Uint32Array(sizeMax);
	const lo = new Uint32Array(sizeMax);
	const owner = new Uint32Array(sizeMax);
	const slot = new Hash64Slot();
	let size = 0;
	let target = 0;
	weights.forEach((weight, k) => {
		target += scale * (weight / total);
		for (let i = 0; size < target && size < sizeMax; i++, size++) {
			xxh64Utf8(`${keys[k]}_${i}`, slot);
			hi[size] = slot.hi;
			lo[size] = slot.lo;
			owner[size] = k;
		}
	});
	return sorted(hi, lo, owner, size);
}

export class RingHashPicker<E extends Candidate> implements Picker<E> {
	readonly #endpoints: readonly E[];
	readonly #ring: HashRing;
	readonly #rng: Rng;

	/** At least two endpoints and the weight of each. */
	constructor(endpoints: readonly E[], weights: readonly number[], sizeMin: number, rng: Rng) {
		const keys = endpoints.map((endpoint) => endpoint.key);
		this.#endpoints = endpoints;
		this.#ring = buildRing(keys, weights, sizeMin);
		this.#rng = rng;
	}

	/** In place of `avoid` the next one along the ring, as if `avoid` were not there: where its keys go should it leave. */
	pick(avoid?: E, hash?: Hash64): E | undefined {
		const { owner } = this.#ring;
		let at = hash === undefined ? Math.floor(this.#rng() * owner.length) : entryAt(this.#ring, hash.hi, hash.lo);
		let endpoint = this.#endpoints[owner[at] as number];
		for (let passed = 1; endpoint === avoid && passed < owner.length; passed++) {
			at = at + 1 === owner.length ? 0 : at + 1;
			endpoint = this.#endpoints[owner[at] as number];
		}
		return endpoint;
	}
}

/** The first entry that does not stand before the hash; behind the last one begins the first again. */
function entryAt({ hi, lo }: HashRing, hashHi: number, hashLo: number): number {
	let low = 0;
	let high = hi.length;
	while (low < high) {
		const middle = (low + high) >>> 1;
		const position = hi[middle] as number;
		if (position < hashHi || (position === hashHi && (lo[middle] as number) < hashLo)) low = middle + 1;
		else high = middle;
	}
	return low === hi.length ? 0 : low;
}

/** By numbers that hold the upper half and the index, which sort natively; the few with equal upper halves are put right after. */
function sorted(hi: Uint32Array, lo: Uint32Array, owner: Uint32Array, size: number): HashRing {
	const order = new Float64Array(size);
	for (let i = 0; i < size; i++) order[i] = (hi[i] as number) * INDEX_RANGE + i;
	order.sort();
	const ring = { hi: new Uint32Array(size), lo: new Uint32Array(size), owner: new Uint32Array(size) };
	for (let i = 0; i < size; i++) {
		const upper = Math.floor((order[i] as number) / INDEX_RANGE);
		const from = (order[i] as number) - upper * INDEX_RANGE;
		const lower = lo[from] as number;
		let at = i;
		for (; at > 0 && ring.hi[at - 1] === upper && (ring.lo[at - 1] as number) > lower; at--) {
			ring.lo[at] = ring.lo[at - 1] as number;
			ring.owner[at] = ring.owner[at - 1] as number;
		}
		ring.hi[i] = upper;
		ring.lo[at] = lower;
		ring.owner[at] = owner[from] as number;
	}
	return ring;
}
