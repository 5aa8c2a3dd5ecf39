import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { buildPicker, type PickerSettings } from "../../src/balance/build-picker.ts";
import { buildMaglevTable, MaglevPicker, TABLE_SIZE_MAX } from "../../src/balance/maglev.ts";
import type { Picker } from "../../src/balance/picker.ts";
import { buildRing, RING_SIZE_MAX, RingHashPicker } from "../../src/balance/ring-hash.ts";
import { seededRng } from "../../src/core/rng.ts";
import { type Hash64, xxh64 } from "../../src/core/xxh64.ts";
import { endpointsOf, type TestEndpoint } from "./support.ts";

interface Vectors {
	readonly ring_hash: { readonly cases: readonly RingCase[] };
	readonly maglev: { readonly cases: readonly MaglevCase[] };
}

interface RingCase {
	readonly hosts: readonly string[];
	readonly min_ring_size: number;
	/** Positions are beyond what JSON numbers keep: rounded to doubles. */
	readonly ring: readonly (readonly [position: number, host: number])[];
	readonly picks: readonly (readonly [hash: string, host: number])[];
}

interface MaglevCase {
	readonly hosts?: readonly string[];
	readonly weights?: readonly number[];
	readonly locality_weights?: readonly number[];
	readonly size?: number;
	readonly table?: readonly number[];
}

const VECTORS = new URL("../../../shared/conformance/resilience-vectors.json", import.meta.url);
const present = existsSync(VECTORS);
const skip = present ? false : "the vectors of the conformance suite are not here";
const vectors = present ? (JSON.parse(readFileSync(VECTORS, "utf8")) as Vectors) : undefined;

const SETTINGS: PickerSettings<TestEndpoint> = { ringSizeMin: 1024, tableSize: 65_537, now: () => 0 };
const KEYS = Array.from({ length: 20_000 }, (_, i) => xxh64(`user-${i}`));

describe("ring-hash as Envoy", { skip }, () => {
	for (const { hosts, min_ring_size, ring, picks } of vectors?.ring_hash.cases ?? []) {
		it(`builds the ring of ${ring.length} and picks from it`, () => {
			const weights = hosts.map(() => 1);
			const built = buildRing(hosts, weights, min_ring_size);
			assert.deepEqual(
				Array.from(built.owner, (owner, i) => [Number((BigInt(built.hi[i] ?? 0) << 32n) | BigInt(built.lo[i] ?? 0)), owner]),
				ring,
			);
			const endpoints = hosts.map((key) => ({ ...endpointsOf([1])[0], key }) as TestEndpoint);
			const picker = new RingHashPicker(endpoints, weights, min_ring_size, seededRng(1));
			for (const [hash, host] of picks) assert.equal(picker.pick(undefined, halves(BigInt(hash))), endpoints[host], hash);
		});
	}
});

describe("maglev as Envoy", { skip }, () => {
	for (const { hosts, weights, locality_weights, size, table } of vectors?.maglev.cases ?? []) {
		if (hosts === undefined || weights === undefined || size === undefined) continue;
		it(`builds the table of ${size} for ${hosts} by ${weights}${locality_weights === undefined ? "" : ", one locality each"}`, () => {
			// Within its locality a host alone has the whole of the locality's weight.
			assert.deepEqual([...buildMaglevTable(hosts, locality_weights ?? weights, size)], table);
		});
	}

	it("gives another host by the hash of the next attempt", () => {
		const endpoints = ["90", "91", "92", "93", "94", "95"].map((port) => ({ ...endpointsOf([1])[0], key: `127.0.0.1:${port}` }) as TestEndpoint);
		const picker = new MaglevPicker(endpoints, [1, 1, 1, 1, 1, 1], 7, seededRng(1));
		const hash = { hi: 0, lo: 10 };
		assert.deepEqual(
			[0, 1, 2].map((attempt) => endpoints.indexOf(picker.choose(hash, attempt) as TestEndpoint)),
			[1, 0, 5],
		);
		assert.equal(picker.pick(undefined, hash), endpoints[1]);
		assert.equal(picker.pick(endpoints[1], hash), endpoints[0]);
	});
});

describe("building a ring", () => {
	it("sorts positions with equal upper halves by their lower ones", () => {
		const { hi, lo } = buildRing(["a", "b"], [1, 1], RING_SIZE_MAX);
		let ties = 0;
		for (let i = 1; i < hi.length; i++) {
			const [before, after] = [hi[i - 1] ?? 0, hi[i] ?? 0];
			assert.ok(before <= after);
			if (before !== after) continue;
			ties++;
			assert.ok((lo[i - 1] ?? 0) <= (lo[i] ?? 0));
		}
		assert.ok(ties > 50, `${ties} positions among a million share their upper half`);
	});

	it("gives entries by weight, and stays bounded where weights differ very much", () => {
		const { owner } = buildRing(["a", "b"], [1, 3], 1024);
		assert.equal(owner.length, 1024);
		assert.equal(owner.filter((k) => k === 1).length, 768);
		const keys = Array.from({ length: 1_000 }, (_, i) => `e${i}`);
		const skewed = buildRing(
			keys,
			keys.map((_, i) => (i === 0 ? 1 : 1_000)),
			1024,
		);
		assert.ok(skewed.owner.length <= 2 ** 17 + 1, `${skewed.owner.length} entries`);
	});

	it("refuses a size that is none, or more than it can bear", () => {
		for (const size of [0, -1, 1.5, Number.NaN, RING_SIZE_MAX + 1]) assert.throws(() => buildRing(["a", "b"], [1, 1], size), RangeError);
	});
});

describe("building a maglev table", () => {
	it("refuses a size that is not prime, or more than it can bear", () => {
		for (const size of [8, 1, 0, -7, 6.5, Number.NaN, TABLE_SIZE_MAX + 2])
			assert.throws(() => buildMaglevTable(["a", "b"], [1, 1], size), RangeError);
	});

	it("gives every slot to somebody and every endpoint its weight, however unequal", () => {
		const table = buildMaglevTable(["a", "b", "c"], [1000, 10, 1], 65_537);
		const counts = [0, 0, 0];
		for (const k of table) counts[k] = (counts[k] ?? 0) + 1;
		for (const [i, weight] of [1000, 10, 1].entries()) assert.ok(Math.abs((counts[i] ?? 0) - (65_537 * weight) / 1011) <= 2, `${counts}`);
	});

	it("equals the plain loop over all endpoints in every turn", () => {
		const keys = Array.from({ length: 40 }, (_, i) => `10.0.0.${i}:80`);
		for (const weights of [keys.map(() => 1), keys.map((_, i) => 1 + (i % 7)), keys.map((_, i) => (i === 3 ? 1000 : 1))]) {
			assert.deepEqual(buildMaglevTable(keys, weights, 1009), plainMaglev(keys, weights, 1009));
		}
	});

	it("serves the first endpoints where there are more than slots", () => {
		assert.equal(new Set(buildMaglevTable(["a", "b", "c", "d"], [1, 1, 1, 1], 3)).size, 3);
	});
});

for (const kind of ["ring-hash", "maglev"] as const) {
	describe(`${kind} by hash`, () => {
		const build = (members: readonly TestEndpoint[]): Picker<TestEndpoint> => buildPicker(kind, members, seededRng(1), undefined, SETTINGS);

		it("gives the same endpoint for the same hash, in whichever order the members come", () => {
			const endpoints = endpointsOf([1, 1, 1, 1, 1]);
			const picker = build(endpoints);
			const again = build(endpoints);
			for (const hash of KEYS.slice(0, 1_000)) assert.equal(picker.pick(undefined, hash), again.pick(undefined, hash));
		});

		it("spreads 20,000 keys by the weights", () => {
			const endpoints = endpointsOf([4, 2, 2, 1, 1]);
			const picker = build(endpoints);
			for (const endpoint of endpoints) {
				const share = KEYS.filter((hash) => picker.pick(undefined, hash) === endpoint).length / KEYS.length;
				// A ring of 1,024 entries is uneven by nature: 3 standard deviations of its arcs; the table is not.
				const allowed = kind === "maglev" ? 0.01 : 0.05;
				assert.ok(Math.abs(share - endpoint.weight / 10) < allowed, `${endpoint.name} of weight ${endpoint.weight} has ${share}`);
			}
		});

		it("moves hardly any key but those of an endpoint that left", () => {
			const endpoints = endpointsOf(new Array(10).fill(1));
			const before = build(endpoints);
			const after = build(endpoints.slice(1));
			const kept = KEYS.filter((hash) => before.pick(undefined, hash) !== endpoints[0]);
			const moved = kept.filter((hash) => before.pick(undefined, hash) !== after.pick(undefined, hash)).length / kept.length;
			// Those who stay get 114 entries on the ring instead of 103, a tenth of it; of the table some per cent move (Eisenbud et al., 5.3).
			assert.ok(moved <= (kind === "maglev" ? 0.05 : 0.1), `${moved} moved`);
		});

		it("sends the keys of an avoided endpoint to several others, always the same one for a key", () => {
			const endpoints = endpointsOf(new Array(10).fill(1));
			const picker = build(endpoints);
			const [avoided] = endpoints;
			const takers = new Set<TestEndpoint | undefined>();
			for (const hash of KEYS.slice(0, 3_000)) {
				const other = picker.pick(avoided, hash);
				assert.notEqual(other, avoided);
				assert.equal(picker.pick(avoided, hash), other);
				if (picker.pick(undefined, hash) !== avoided) assert.equal(other, picker.pick(undefined, hash));
				else takers.add(other);
			}
			assert.equal(takers.size, 9);
		});

		it("finds the other one even where the avoided one holds nearly everything", () => {
			const endpoints = endpointsOf([1000, 1]);
			const picker = build(endpoints);
			for (const hash of KEYS.slice(0, 500)) assert.equal(picker.pick(endpoints[0], hash), endpoints[1]);
		});

		it("keeps to the endpoints' own weights while they warm up, lest keys move about", () => {
			const endpoints = endpointsOf([1, 1, 1]);
			const warming = buildPicker(kind, endpoints, seededRng(1), undefined, { ...SETTINGS, weightOf: (e) => (e.name === "e0" ? 0.1 : 1) });
			const warm = build(endpoints);
			for (const hash of KEYS.slice(0, 1_000)) assert.equal(warming.pick(undefined, hash), warm.pick(undefined, hash));
		});
	});
}

/** Listing 1 of the paper with Envoy's weights. */
function plainMaglev(keys: readonly string[], weights: readonly number[], size: number): Uint32Array {
	const total = weights.reduce((sum, weight) => sum + weight, 0);
	const parts = weights.map((weight) => weight / total);
	const heaviest = Math.max(...parts);
	const modulo = ({ hi, lo }: Hash64, by: number) => Number(((BigInt(hi) << 32n) | BigInt(lo)) % BigInt(by));
	const entries = keys.map((key) => ({ offset: modulo(xxh64(key), size), skip: modulo(xxh64(key, undefined, 1), size - 1) + 1, next: 0, target: 0 }));
	const table: number[] = new Array(size).fill(-1);
	for (let filled = 0, turn = 1; filled < size; turn++) {
		for (const [i, entry] of entries.entries()) {
			if (filled === size || turn * (parts[i] ?? 0) < entry.target) continue;
			entry.target += heaviest;
			const slot = () => (entry.offset + entry.skip * entry.next++) % size;
			let at = slot();
			while (table[at] !== -1) at = slot();
			table[at] = i;
			filled++;
		}
	}
	return Uint32Array.from(table);
}

function halves(hash: bigint): Hash64 {
	return { hi: Number(hash >> 32n), lo: Number(hash & 0xffffffffn) };
}
