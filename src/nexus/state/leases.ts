/**
 * Who does a duty that only one may do. Built on compare-and-set alone, so that it is the same on every engine, and on no clock but
 * each one's own monotonic one: a lease is free for others when *they* have seen nothing of its owner for its whole time.
 */
import type { Clock } from "../../core/clock.ts";
import { check, type Fence, put, type Read, remove, type StateFailed, type StateStore } from "./state-store.ts";

const LEASES = "leases";
// The owner's sign of life; quiet, because it comes a few times per lease and second.
const BEATS = "_beats";

export interface LeaseOptions {
	/** Unique to the node and the same after its restart: it takes its own leases back at once, and fences what it was before. */
	readonly owner: string;
	readonly ttlMs: number;
}

export interface Lease {
	readonly name: string;
	readonly owner: string;
	readonly ttlMs: number;
	/** Grows with each owner of that name. Holds for as long as nobody has taken over, whatever any clock says. */
	readonly fence: Fence;
	/** By the owner's monotonic clock. Nobody has taken over before that; from then on the owner must not act. */
	readonly validUntilMs: number;
}

export type AcquireOutcome = { readonly ok: true; readonly lease: Lease } | Held | StateFailed;

/** `retryInMs`: when it is free at the earliest, if nothing is heard of its owner. */
export interface Held {
	readonly ok: false;
	readonly failure: "held";
	readonly owner: string;
	readonly retryInMs: number;
}

/** `lost`: somebody else has it, or it was renewed too late. Acquire again. */
export type RenewOutcome = { readonly ok: true; readonly lease: Lease } | { readonly ok: false; readonly failure: "lost" } | StateFailed;

interface Holder {
	readonly owner: string;
	readonly ttlMs: number;
}

/** As the state has it; a revision of 0: it has none. */
interface Found {
	readonly holder: Holder | undefined;
	readonly fence: number;
	readonly beat: number;
}

interface Sighting {
	readonly fence: number;
	readonly beat: number;
	readonly atMs: number;
}

const NONE: Found = Object.freeze({ holder: undefined, fence: 0, beat: 0 });

/** A lease as the fence of a commit: `commit([...writes, fenceOf(lease)])` happens only while nobody has taken over. */
export function fenceOf({ fence }: Lease): ReturnType<typeof check> {
	return check(fence.table, fence.key, fence.revision);
}

/** One per node: it remembers when it has last seen a sign of each owner. */
export class Leases {
	readonly #store: StateStore;
	readonly #clock: Clock;
	/** Bounded by the names that this node asks for: the duties of the program. */
	readonly #sightings = new Map<string, Sighting>();
	/** Begins at the end of this turn. */
	#reading: Promise<Read<ReadonlyMap<string, Found>>> | undefined;

	constructor(store: StateStore, clock: Clock) {
		this.#store = store;
		this.#clock = clock;
	}

	/** To be called again and again: a lease falls free only before the eyes of who asks for it. */
	async acquire(name: string, { owner, ttlMs }: LeaseOptions): Promise<AcquireOutcome> {
		const read = await this.#find(name);
		if (!read.ok) return read;
		const held = this.#heldByOther(name, read.value, owner);
		if (held !== undefined) return held;
		const { holder, fence, beat } = read.value;
		const askedAtMs = this.#clock.monotonicMs();
		// The beat is checked too: an owner that has just renewed keeps its lease.
		const taken = await this.#store.commit([
			put(LEASES, name, { owner, ttlMs } satisfies Holder, fence),
			beat === 0 ? put(BEATS, name, 0, 0) : check(BEATS, name, beat),
		]);
		if (!taken.ok) {
			if (taken.failure !== "conflict") return taken;
			return { ok: false, failure: "held", owner: holder?.owner ?? "another", retryInMs: holder?.ttlMs ?? ttlMs };
		}
		this.#sightings.delete(name);
		return {
			ok: true,
			lease: { name, owner, ttlMs, fence: { table: LEASES, key: name, revision: taken.revision }, validUntilMs: askedAtMs + ttlMs },
		};
	}

	/** Who has it; undefined where `acquire` could have it for `owner`. Counts as looking after it, as `acquire` does. */
	async look(name: string, owner: string): Promise<Held | StateFailed | undefined> {
		const read = await this.#find(name);
		return read.ok ? this.#heldByOther(name, read.value, owner) : read;
	}

	/** At a third of its time, so that two may fail. A lease that has run out is not renewed, even if nobody has taken it yet. */
	async renew(lease: Lease): Promise<RenewOutcome> {
		const askedAtMs = this.#clock.monotonicMs();
		if (askedAtMs >= lease.validUntilMs) return { ok: false, failure: "lost" };
		const renewed = await this.#store.commit([put(BEATS, lease.name, 0), fenceOf(lease)]);
		if (renewed.ok) return { ok: true, lease: { ...lease, validUntilMs: askedAtMs + lease.ttlMs } };
		return renewed.failure === "conflict" ? { ok: false, failure: "lost" } : renewed;
	}

	/** Frees it at once. Nothing happens where somebody else has it. */
	async release(lease: Lease): Promise<{ readonly ok: true } | StateFailed> {
		const released = await this.#store.commit([remove(LEASES, lease.name, lease.fence.revision)]);
		return released.ok || released.failure === "conflict" ? { ok: true } : released;
	}

	async #find(name: string): Promise<Read<Found>> {
		this.#reading ??= this.#readAll();
		const read = await this.#reading;
		return read.ok ? { ok: true, value: read.value.get(name) ?? NONE } : read;
	}

	/** All of them, for all who ask in this turn: they are few, and a node that looks after many looks after them in the same moment. */
	async #readAll(): Promise<Read<ReadonlyMap<string, Found>>> {
		await new Promise((resolve) => setImmediate(resolve));
		this.#reading = undefined;
		// Not of one moment: whoever takes one checks both.
		const [leases, beats] = await Promise.all([this.#store.list(LEASES), this.#store.list(BEATS)]);
		if (!leases.ok) return leases;
		if (!beats.ok) return beats;
		const found = new Map<string, Found>();
		for (const { key, revision } of beats.value.entries) found.set(key, { ...NONE, beat: revision });
		for (const { key, value, revision } of leases.value.entries)
			found.set(key, { holder: value as Holder, fence: revision, beat: found.get(key)?.beat ?? 0 });
		return { ok: true, value: found };
	}

	#heldByOther(name: string, { holder, fence, beat }: Found, owner: string): Held | undefined {
		if (holder === undefined || holder.owner === owner) return undefined;
		const retryInMs = this.#remainingMs(name, fence, beat, holder.ttlMs);
		return retryInMs > 0 ? { ok: false, failure: "held", owner: holder.owner, retryInMs } : undefined;
	}

	/** How long this node has to hear nothing more of the owner. */
	#remainingMs(name: string, fence: number, beat: number, ttlMs: number): number {
		const nowMs = this.#clock.monotonicMs();
		const seen = this.#sightings.get(name);
		if (seen?.fence === fence && seen.beat === beat) return seen.atMs + ttlMs - nowMs;
		this.#sightings.set(name, { fence, beat, atMs: nowMs });
		return ttlMs;
	}
}
