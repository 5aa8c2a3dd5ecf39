/** Which bucket is a key's: bounded memory, and no key can make another's bucket forget what it has spent. Knows no rates. */
import type { Rng } from "../core/rng.ts";

// 10,000 keys of at most a few hundred bytes are a few megabytes per limit.
export const KEYS_MAX = 10_000;
// A new key that finds no room shares one of these with the other such keys: enough that an attacker does not stop all of them by
// filling one, few enough that they cost nothing. Which one is drawn by a keyed hash, so it cannot be aimed at.
const OVERFLOW_SLOTS = 64;
// A new key looks at so many slots for one that may be forgotten: bounded work, and the hand has passed every slot after
// KEYS_MAX / 16 new keys.
const PROBES_MAX = 16;
const SLOTS_MIN = 64;

// slots:  [ overflow 0..63 | key | key | key | ... ]    `fullAtNs` of each: when it is as good as new
//                                   ^ hand
// Only a slot that is as good as new may go to another key: forgetting it changes nothing for the key that had it. So a flood of new
// keys can take the place of idle buckets alone, and where there is none its keys share the overflow slots.

export class KeyTable {
	/** Per slot, nanoseconds on the owner's time line; written by the owner. */
	fullAtNs: Float64Array = new Float64Array(OVERFLOW_SLOTS + SLOTS_MIN);
	/** New keys that found no slot of their own. */
	overflows = 0;
	readonly #slots = new Map<string, number>();
	readonly #keys: string[] = new Array<string>(OVERFLOW_SLOTS).fill("");
	readonly #slotsMax: number;
	readonly #seed: number;
	#hand = OVERFLOW_SLOTS;

	constructor(rng: Rng, keysMax = KEYS_MAX) {
		this.#slotsMax = OVERFLOW_SLOTS + keysMax;
		this.#seed = Math.floor(rng() * 0x1_0000_0000);
	}

	/** Keys with a slot of their own. */
	get size(): number {
		return this.#slots.size;
	}

	/** The slot of `key`, made where there is none. Valid until the next call. O(1). */
	slotOf(key: string, nowNs: number): number {
		return this.#slots.get(key) ?? this.#newSlot(key, nowNs);
	}

	/** The slot of `key` where it has one or would have to share one; undefined: it would be new. Changes nothing. */
	find(key: string): number | undefined {
		const slot = this.#slots.get(key);
		if (slot !== undefined) return slot;
		return this.#keys.length >= this.#slotsMax && this.fullAtNs[this.#hash(key)] !== 0 ? this.#hash(key) : undefined;
	}

	isShared(slot: number): boolean {
		return slot < OVERFLOW_SLOTS;
	}

	/** The key that has the slot for itself; "" of a shared one. */
	keyOf(slot: number): string {
		return this.#keys[slot] ?? "";
	}

	#newSlot(key: string, nowNs: number): number {
		let slot = this.#keys.length;
		if (slot >= this.#slotsMax) {
			slot = this.#idleSlot(nowNs);
			if (slot < 0) {
				this.overflows++;
				return this.#hash(key);
			}
			this.#slots.delete(this.keyOf(slot));
		} else if (slot >= this.fullAtNs.length) this.#grow();
		const own = ownCopy(key);
		this.#keys[slot] = own;
		this.#slots.set(own, slot);
		return slot;
	}

	#idleSlot(nowNs: number): number {
		for (let i = 0; i < PROBES_MAX; i++) {
			const slot = this.#hand;
			this.#hand = slot + 1 < this.#slotsMax ? slot + 1 : OVERFLOW_SLOTS;
			if ((this.fullAtNs[slot] ?? 0) <= nowNs) return slot;
		}
		return -1;
	}

	#grow(): void {
		const grown = new Float64Array(Math.min(this.fullAtNs.length * 2, this.#slotsMax));
		grown.set(this.fullAtNs);
		this.fullAtNs = grown;
	}

	/** FNV-1a from a secret start. */
	#hash(key: string): number {
		let hash = this.#seed;
		for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
		return (hash >>> 16) % OVERFLOW_SLOTS;
	}
}

/** A slice of a request head keeps the whole head alive for as long as it is itself; a copy does not. */
function ownCopy(key: string): string {
	return Buffer.from(key, "utf16le").toString("utf16le");
}
