/** HalfSipHash-1-3 with 64 bits of output over strings: a hash that nobody can steer without the key, in 32-bit arithmetic. */

// https://github.com/veorq/SipHash halfsiphash.c. One compression and three finalization rounds, as Linux' hsiphash: hits are verified against
// the log, so a collision costs time and never an event. The unit is the UTF-16 code unit, two to a word.

export const HASH_KEY_BYTES = 8;

/** Not re-entrant: `hash` leaves its result in `hi` and `lo`, so that nothing is allocated per event. */
export class KeyedHash {
	hi = 0;
	lo = 0;
	readonly #k0: number;
	readonly #k1: number;

	/** `key` has 8 bytes. */
	constructor(key: Buffer) {
		this.#k0 = key.readInt32LE(0);
		this.#k1 = key.readInt32LE(4);
	}

	/** Hashes the pair; ("ab", "c") and ("a", "bc") differ. Results are unsigned 32-bit numbers. */
	hash(first: string, second: string): void {
		let v0 = this.#k0;
		let v1 = this.#k1 ^ 0xee;
		let v2 = 0x6c796765 ^ this.#k0;
		let v3 = 0x74656462 ^ this.#k1;
		const lengths = (first.length << 16) ^ second.length;
		const firstWords = (first.length + 1) >> 1;
		const words = firstWords + ((second.length + 1) >> 1);
		for (let w = 0; w <= words + 6; w++) {
			let m = 0;
			if (w < firstWords) m = wordAt(first, w << 1);
			else if (w < words) m = wordAt(second, (w - firstWords) << 1);
			else if (w === words) m = lengths;
			else if (w === words + 1) v2 ^= 0xee;
			else if (w === words + 4) {
				this.hi = (v1 ^ v3) >>> 0;
				v1 ^= 0xdd;
			}
			v3 ^= m;
			v0 = (v0 + v1) | 0;
			v1 = (v1 << 5) | (v1 >>> 27);
			v1 ^= v0;
			v0 = (v0 << 16) | (v0 >>> 16);
			v2 = (v2 + v3) | 0;
			v3 = (v3 << 8) | (v3 >>> 24);
			v3 ^= v2;
			v0 = (v0 + v3) | 0;
			v3 = (v3 << 7) | (v3 >>> 25);
			v3 ^= v0;
			v2 = (v2 + v1) | 0;
			v1 = (v1 << 13) | (v1 >>> 19);
			v1 ^= v2;
			v2 = (v2 << 16) | (v2 >>> 16);
			v0 ^= m;
		}
		this.lo = (v1 ^ v3) >>> 0;
	}
}

function wordAt(text: string, at: number): number {
	return at + 1 < text.length ? text.charCodeAt(at) | (text.charCodeAt(at + 1) << 16) : text.charCodeAt(at);
}
