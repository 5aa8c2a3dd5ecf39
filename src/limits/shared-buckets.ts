/** The buckets of one limit that many sidecars share: tokens are leased from the store, and used up here without asking it. */
import { hash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import { KeyTable } from "./key-table.ts";
import { Lease } from "./lease.ts";
import { LocalBuckets } from "./local-buckets.ts";
import type { LeaseAnswer, SharedStore } from "./shared-store.ts";
import type { Turn } from "./turn.ts";

const NS_PER_MS = 1e6;
// A lease lives two slices: demand that varies by chance from one slice to the next uses it up all the same.
const LEASE_SLICES = 2;
// When the store has no more, it is asked again after 1 to 1.5 slices. The spread keeps sidecars from asking in step, where the
// same one would always come first; a lease of 1.5 slices takes all that has flowed meanwhile.
const PAUSE_SPREAD = 0.5;
const LEASE_MAX_SLICES = 1 + PAUSE_SPREAD;
// Asked for more while a quarter is left, so that hardly any request waits for the answer.
const REFILL_AT = 0.25;
// While the answer is under way a queue looks again after so long; a question takes about a millisecond on a healthy network.
const ANSWER_POLL_MS = 2;

// What is granted at most, in any time t, whatever the number of sidecars: burst' + rate x t, where burst' = max(burst, 1.5 slices' worth).
// A lease is used within two slices, so at most burst' + rate x (t + 2 slices) pass in any time t: the bound of the error. Over a
// longer time the rate is exact. Too few pass only where a sidecar's demand stops: what is left of its lease is dropped then.

export type SharedVerdict = "room" | "full" | "ask";

export interface SharedBucketsOptions {
	readonly store: SharedStore;
	readonly clock: Clock;
	readonly rng: Rng;
	/** Begins the key of each bucket in the store. */
	readonly prefix: string;
	readonly single: boolean;
	readonly requestsPerSecond: number;
	readonly burst: number;
	readonly timeoutMs: number;
	readonly sliceMs: number;
	readonly onFailure: "local" | "allow" | "deny";
	readonly keysMax?: number;
}

export type SharedNumbers = Pick<SharedBucketsOptions, "requestsPerSecond" | "burst" | "timeoutMs" | "sliceMs" | "onFailure">;

export class SharedBuckets {
	/** `onFailure: local`: the whole rate for this sidecar alone while the store is away. */
	readonly local: LocalBuckets;
	granted = 0;
	empty = 0;
	failed = 0;
	/** What the last failure was; "" after an answer. */
	lastFailure = "";
	readonly #store: SharedStore;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #prefix: string;
	readonly #single: boolean;
	readonly #table: KeyTable;
	readonly #leases: Lease[] = [];
	readonly #originMs: number;
	#numbers: SharedNumbers;
	#judged: Lease | undefined;
	/** How the last `judge` found room: in a lease, in the local bucket, or because nobody counts. */
	#source: "lease" | "local" | "none" = "lease";

	constructor(options: SharedBucketsOptions) {
		const { store, clock, rng, prefix, single, requestsPerSecond, burst, keysMax } = options;
		this.#store = store;
		this.#clock = clock;
		this.#rng = rng;
		this.#prefix = prefix;
		this.#single = single;
		this.#numbers = options;
		this.#originMs = clock.monotonicMs();
		this.#table = new KeyTable(rng, keysMax);
		const bounded = keysMax === undefined ? {} : { keysMax };
		this.local = new LocalBuckets({ requestsPerSecond, burst, single, rng, nowMs: this.#originMs, ...bounded });
	}

	configure(numbers: SharedNumbers, nowMs: number): void {
		this.#numbers = numbers;
		this.local.configure(numbers.requestsPerSecond, numbers.burst, nowMs);
	}

	get keys(): number {
		return Math.max(this.#table.size, this.local.table.size);
	}

	get overflows(): number {
		return this.#table.overflows;
	}

	/** `available`, or what stands in for it. */
	get storeState(): "available" | "away: local" | "away: allow" | "away: deny" {
		return this.#store.available ? "available" : `away: ${this.#numbers.onFailure}`;
	}

	view(): { available: boolean; granted: number; empty: number; failed: number; lastFailure: string } {
		const { granted, empty, failed, lastFailure } = this;
		return { available: this.#store.available, granted, empty, failed, lastFailure };
	}

	/** `ask`: nobody knows yet; `wait` then. */
	judge(key: string, nowMs: number): SharedVerdict {
		const lease = this.#leaseOf(key, nowMs);
		this.#judged = lease;
		this.#count(lease, nowMs);
		return this.#look(lease, key, nowMs);
	}

	/** Takes a token where `judge` has just found room. */
	take(nowMs: number): void {
		if (this.#source === "local") this.local.take();
		else if (this.#source === "lease" && this.#judged !== undefined) {
			const lease = this.#judged;
			lease.tokens--;
			if (lease.tokens <= lease.refillAt && !lease.asking && nowMs >= lease.pausedUntilMs) this.#ask(lease);
		}
	}

	/** Where `judge` has just said `full`. */
	waitMs(nowMs: number): number {
		if (this.#source === "local") return this.local.waitMs;
		if (this.#source === "none") return this.#numbers.sliceMs;
		return Math.max(1, (this.#judged?.pausedUntilMs ?? nowMs) - nowMs);
	}

	/** Where the token comes from that `take` has just taken. */
	get source(): "lease" | "local" | "none" {
		return this.#source;
	}

	/** A token of a lease that was taken for nothing. */
	giveBack(key: string, nowMs: number): void {
		const lease = this.#leaseOf(key, nowMs);
		if (nowMs < lease.expiresMs) lease.tokens++;
	}

	/** For queues: 0 where a token was taken, else when to try again. */
	tryTake(key: string, nowMs: number): number {
		const lease = this.#leaseOf(key, nowMs);
		this.#judged = lease;
		const verdict = this.#look(lease, key, nowMs);
		if (verdict === "full") return this.waitMs(nowMs);
		if (verdict === "room") {
			this.take(nowMs);
			return 0;
		}
		if (!lease.asking) this.#ask(lease);
		return ANSWER_POLL_MS;
	}

	/** Where `judge` has just said `ask`: the turn hears of it within the timeout. */
	wait(turn: Turn): void {
		const lease = this.#judged;
		if (lease === undefined) return;
		lease.turns.add(turn);
		if (!lease.asking) this.#ask(lease);
	}

	/** False where it does not wait here. */
	leave(turn: Turn): boolean {
		return this.#leaseOf(turn.key, this.#clock.monotonicMs()).turns.delete(turn);
	}

	/** Tokens at hand: those that the store would still give are not known here. */
	remaining(key: string, nowMs: number): number {
		if (!this.#store.available) return this.#numbers.onFailure === "local" ? this.local.remaining(key, nowMs) : 0;
		const slot = this.#table.find(this.#single ? "" : key);
		const lease = slot === undefined ? undefined : this.#leases[slot];
		return lease === undefined || lease.expiresMs <= nowMs ? 0 : lease.tokens;
	}

	/** Whether a request of `key` would pass, as far as is known here: where nothing is, the store would be asked. Changes nothing. */
	mayAdmit(key: string, nowMs: number): boolean {
		if (this.remaining(key, nowMs) > 0) return true;
		if (!this.#store.available) return this.#numbers.onFailure === "allow";
		const slot = this.#table.find(this.#single ? "" : key);
		return slot === undefined || nowMs >= (this.#leases[slot]?.pausedUntilMs ?? 0);
	}

	#look(lease: Lease, key: string, nowMs: number): SharedVerdict {
		this.#source = "lease";
		if (lease.tokens > 0 && nowMs < lease.expiresMs && lease.turns.size === 0) return "room";
		if (!this.#store.available && !lease.asking) return this.#lookAway(key, nowMs);
		return nowMs < lease.pausedUntilMs ? "full" : "ask";
	}

	#lookAway(key: string, nowMs: number): "room" | "full" {
		const { onFailure } = this.#numbers;
		this.#source = onFailure === "local" ? "local" : "none";
		if (onFailure === "local") return this.local.judge(key, nowMs) ? "room" : "full";
		return onFailure === "allow" ? "room" : "full";
	}

	#leaseOf(key: string, nowMs: number): Lease {
		const slot = this.#table.slotOf(this.#single ? "" : key, (nowMs - this.#originMs) * NS_PER_MS);
		const own = this.#table.isShared(slot) ? `\n${slot}` : this.#table.keyOf(slot);
		let lease = this.#leases[slot];
		// Its slot is another key's now; the old lease has run out, or the slot would not have been given away.
		if (lease === undefined || lease.key !== own) {
			lease = new Lease(own, slot);
			this.#leases[slot] = lease;
		}
		return lease;
	}

	#count(lease: Lease, nowMs: number): void {
		const elapsedMs = nowMs - lease.sliceFromMs;
		const { sliceMs } = this.#numbers;
		if (elapsedMs >= sliceMs) {
			lease.lastDemand = (lease.demand * sliceMs) / elapsedMs;
			lease.demand = 0;
			lease.sliceFromMs = nowMs;
		}
		lease.demand++;
	}

	#ask(lease: Lease): void {
		const { requestsPerSecond, burst, sliceMs, timeoutMs } = this.#numbers;
		const leaseMax = Math.max(1, Math.ceil((requestsPerSecond * sliceMs * LEASE_MAX_SLICES) / 1000));
		const tokens = Math.min(leaseMax, Math.max(1, Math.ceil(lease.lastDemand), lease.demand, lease.turns.size));
		lease.asking = true;
		this.#pin(lease, Number.POSITIVE_INFINITY);
		const question = { key: this.#prefix + digest(lease.key), tokens, requestsPerSecond, burst: Math.max(burst, leaseMax), timeoutMs };
		void this.#store.lease(question).then((answer) => this.#answered(lease, tokens, answer));
	}

	#answered(lease: Lease, asked: number, answer: LeaseAnswer): void {
		const nowMs = this.#clock.monotonicMs();
		lease.asking = false;
		if (answer.kind === "failed") {
			this.failed++;
			this.lastFailure = answer.detail;
			this.#serveAway(lease, nowMs);
		} else {
			this.lastFailure = "";
			this.#book(lease, asked, answer.granted, answer.retryAfterMs, nowMs);
			this.#serve(lease, nowMs);
		}
		if (!lease.asking) this.#pin(lease, (Math.max(lease.expiresMs, lease.pausedUntilMs) - this.#originMs) * NS_PER_MS);
	}

	#book(lease: Lease, asked: number, granted: number, retryAfterMs: number, nowMs: number): void {
		const { sliceMs } = this.#numbers;
		if (granted > 0) {
			this.granted++;
			lease.tokens = (nowMs < lease.expiresMs ? lease.tokens : 0) + granted;
			lease.expiresMs = nowMs + sliceMs * LEASE_SLICES;
			lease.refillAt = Math.floor(granted * REFILL_AT);
		} else this.empty++;
		if (granted < asked) lease.pausedUntilMs = nowMs + Math.max(granted > 0 ? 0 : retryAfterMs, sliceMs * (1 + PAUSE_SPREAD * this.#rng()));
	}

	#serve(lease: Lease, nowMs: number): void {
		for (const turn of lease.turns) {
			if (lease.tokens === 0) break;
			lease.tokens--;
			lease.turns.delete(turn);
			this.#source = "lease";
			turn.granted(nowMs);
		}
		if (lease.turns.size === 0) return;
		if (nowMs >= lease.pausedUntilMs) {
			if (!lease.asking) this.#ask(lease);
			return;
		}
		const retryAfterMs = lease.pausedUntilMs - nowMs;
		for (const turn of this.#drain(lease)) turn.refused({ reason: "rate_limited", retryAfterMs });
	}

	#serveAway(lease: Lease, nowMs: number): void {
		for (const turn of this.#drain(lease)) {
			if (this.#lookAway(turn.key, nowMs) === "room") {
				if (this.#source === "local") this.local.take();
				turn.granted(nowMs);
			} else turn.refused({ reason: "rate_limited", retryAfterMs: this.waitMs(nowMs) });
		}
	}

	#drain(lease: Lease): Turn[] {
		const turns = [...lease.turns];
		lease.turns.clear();
		return turns;
	}

	/** Until then the slot stays this key's. */
	#pin(lease: Lease, untilNs: number): void {
		this.#table.fullAtNs[lease.slot] = untilNs;
	}
}

/** Keys may be secrets (header values): the store sees a digest, of one length whatever the client sends. */
function digest(key: string): string {
	return hash("sha256", key, "hex").slice(0, 32);
}
