/** Buckets by key, against one that keeps a bucket for each key for ever. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { LocalBuckets } from "../../src/limits/local-buckets.ts";

const SEQUENCES = 100_000;
const OPERATIONS = 20;
const MS = 1_000_000n;

/** A token bucket as the textbook has it: a level that rises with time, in integers of any size. One for each key, never forgotten. */
class NaiveBuckets {
	readonly #levels = new Map<string, { levelNs: bigint; atNs: bigint }>();
	readonly #periodNs: bigint;
	readonly #burst: bigint;

	constructor(requestsPerSecond: number, burst: number) {
		this.#periodNs = 1_000_000_000n / BigInt(requestsPerSecond);
		this.#burst = BigInt(burst);
	}

	request(key: string, nowNs: bigint): boolean {
		const bucket = this.#at(key, nowNs);
		if (bucket.levelNs < this.#periodNs) return false;
		bucket.levelNs -= this.#periodNs;
		return true;
	}

	giveBack(key: string, nowNs: bigint): void {
		const bucket = this.#at(key, nowNs);
		const fullNs = this.#burst * this.#periodNs;
		bucket.levelNs += this.#periodNs;
		if (bucket.levelNs > fullNs) bucket.levelNs = fullNs;
	}

	remaining(key: string, nowNs: bigint): number {
		return Number(this.#at(key, nowNs).levelNs / this.#periodNs);
	}

	#at(key: string, nowNs: bigint): { levelNs: bigint; atNs: bigint } {
		const fullNs = this.#burst * this.#periodNs;
		const bucket = this.#levels.get(key) ?? { levelNs: fullNs, atNs: nowNs };
		bucket.levelNs += nowNs - bucket.atNs;
		if (bucket.levelNs > fullNs) bucket.levelNs = fullNs;
		bucket.atNs = nowNs;
		this.#levels.set(key, bucket);
		return bucket;
	}
}

function request(buckets: LocalBuckets, key: string, nowMs: number): boolean {
	const fits = buckets.judge(key, nowMs);
	if (fits) buckets.take();
	return fits;
}

function bucketsOf(requestsPerSecond: number, burst: number, keysMax: number, rng: Rng): LocalBuckets {
	return new LocalBuckets({ requestsPerSecond, burst, single: false, rng, nowMs: 0, keysMax });
}

describe("the buckets of one limit", () => {
	for (const [keysMax, keys] of [
		[16, 8],
		[4, 12],
	] as const) {
		test(`act as one bucket for each of ${keys} keys would, with room for ${keysMax}: ${SEQUENCES} random sequences`, () => {
			const rng = seededRng(4711 + keys);
			const below = (n: number): number => Math.floor(rng() * n);
			let compared = 0;
			let refused = 0;
			for (let sequence = 0; sequence < SEQUENCES; sequence++) {
				const rate = 1 + below(50);
				const burst = 1 + below(4);
				const buckets = bucketsOf(rate, burst, keysMax, rng);
				const naive = new NaiveBuckets(rate, burst);
				const sharing = new Set<string>();
				let nowMs = 0;
				for (let i = 0; i < OPERATIONS; i++) {
					if (below(3) === 0) nowMs += below(2000) / 8;
					const key = `key ${below(keys)}`;
					const nowNs = (BigInt(nowMs * 8) * MS) / 8n;
					const overflows = buckets.table.overflows;
					const admits = request(buckets, key, nowMs);
					if (buckets.table.overflows > overflows) sharing.add(key);
					const shouldAdmit = naive.request(key, nowNs);
					if (sharing.has(key)) continue;
					assert.equal(admits, shouldAdmit, `sequence ${sequence}, operation ${i}`);
					compared++;
					if (!admits) refused++;
					if (admits && below(5) === 0) {
						buckets.giveBack(key, buckets.fullAtNs, nowMs);
						naive.giveBack(key, nowNs);
					}
					assert.equal(buckets.remaining(key, nowMs), naive.remaining(key, nowNs), `sequence ${sequence}, operation ${i}`);
				}
				assert.ok(buckets.table.size <= keysMax);
			}
			assert.ok(compared > SEQUENCES * 2 && refused > SEQUENCES / 10, `${compared} compared, ${refused} refused`);
		});
	}

	test("neither grow nor forget anybody under a million new keys", () => {
		const buckets = new LocalBuckets({ requestsPerSecond: 1, burst: 3, single: false, rng: seededRng(1), nowMs: 0 });
		for (let i = 0; i < 5000; i++) for (let n = 0; n < 3; n++) assert.ok(request(buckets, `victim ${i}`, 0));
		let admitted = 0;
		for (let i = 0; i < 1_000_000; i++) if (request(buckets, `flood ${i}`, i / 1e6)) admitted++;
		assert.equal(buckets.table.size, 10_000);
		assert.ok(buckets.table.overflows >= 995_000);
		// 5,000 keys with a bucket of their own, and what 64 shared buckets hold.
		assert.equal(admitted, 5000 + 64 * 3);
		for (let i = 0; i < 5000; i++) {
			assert.equal(buckets.remaining(`victim ${i}`, 999), 0);
			assert.equal(request(buckets, `victim ${i}`, 999), false, "a victim has got its tokens back before their time");
		}
		for (let i = 0; i < 5000; i++) assert.ok(request(buckets, `victim ${i}`, 1000), "a victim has lost its token");
	});

	test("give the place of a bucket that is full again to a new key", () => {
		const buckets = bucketsOf(10, 1, 100, seededRng(2));
		for (let i = 0; i < 100; i++) request(buckets, `old ${i}`, 0);
		for (let i = 0; i < 100; i++) assert.ok(request(buckets, `new ${i}`, 100));
		assert.equal(buckets.table.overflows, 0);
		assert.equal(buckets.table.size, 100);
	});

	test("keep a key that clients choose no longer than a copy of it", () => {
		const buckets = bucketsOf(10, 1, 10, seededRng(3));
		const head = "x".repeat(65_536);
		const key = head.slice(10, 60);
		request(buckets, key, 0);
		assert.equal(request(buckets, head.slice(20, 70), 0), false, "the same text is the same key");
		assert.equal(request(buckets, "\ud800 lone surrogate", 0), true);
		assert.equal(request(buckets, "\ud800 lone surrogate", 0), false);
	});

	test("give a token back only as long as it has not flowed back by itself", () => {
		const buckets = bucketsOf(10, 2, 10, seededRng(4));
		request(buckets, "a", 0);
		const takenFullAtNs = buckets.fullAtNs;
		// Full again at 100 ms; both are taken then, and the token of the first request must not make them three.
		request(buckets, "a", 100);
		request(buckets, "a", 100);
		buckets.giveBack("a", takenFullAtNs, 100);
		assert.equal(request(buckets, "a", 100), false);
	});

	test("keep what was spent, counted in requests, when the numbers change", () => {
		const buckets = bucketsOf(1, 10, 10, seededRng(5));
		for (let i = 0; i < 8; i++) request(buckets, "a", 0);
		buckets.configure(100, 20, 0);
		assert.equal(buckets.remaining("a", 0), 12);
		buckets.configure(0.01, 2, 0);
		assert.equal(buckets.remaining("a", 0), 0);
		assert.equal(buckets.remaining("a", 200_000), 2, "more than the new burst counts as spent");
		assert.throws(() => buckets.configure(0, 1, 0), RangeError);
	});

	test("never admit more than rate x time + burst, as fast as a real clock is asked", () => {
		const buckets = new LocalBuckets({ requestsPerSecond: 20_000, burst: 100, single: true, rng: seededRng(6), nowMs: performance.now() });
		const fromMs = performance.now();
		let admitted = 0;
		let lastMs = fromMs;
		for (let nowMs = fromMs; nowMs < fromMs + 500; nowMs = performance.now()) {
			if (request(buckets, "", nowMs)) admitted++;
			lastMs = nowMs;
		}
		const expected = 100 + 20 * (lastMs - fromMs);
		assert.ok(admitted <= expected + 1, `${admitted} of ${expected}`);
	});
});
