/** One limit of the policy: its buckets, and what it does with requests that are over it. Lives as long as policies name it. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import type { RateLimitPolicy } from "../policy/resilience-policy.ts";
import { describeKey, isGlobal, type LimitSubject, limitKey, shownKey } from "./limit-key.ts";
import type { Direction, ExplainedLimit, Limited, LimiterView, Taken } from "./limited.ts";
import { LocalBuckets } from "./local-buckets.ts";
import { policyLine, usedUpLine } from "./rate-limit-fields.ts";
import { SharedBuckets } from "./shared-buckets.ts";
import type { SharedStore } from "./shared-store.ts";
import { TopKeys } from "./top-keys.ts";
import type { Refusal, Turn } from "./turn.ts";
import type { BottleneckClass } from "./wait-queue.ts";
import { WaitQueues } from "./wait-queues.ts";

export type { Direction, Limited, LimiterView } from "./limited.ts";

// Where the header does not say; the middle, as bottleneck has it.
const PRIORITY_DEFAULT = 5;

export interface LimiterOptions {
	readonly direction: Direction;
	/** The upstream or route that it belongs to; unique within the direction. */
	readonly place: string;
	readonly policy: RateLimitPolicy;
	readonly clock: Clock;
	readonly rng: Rng;
	/** Undefined where the policy shares nothing. */
	readonly store: SharedStore | undefined;
	/** Begins the keys in the store. */
	readonly storePrefix: string;
	readonly bottleneck: Promise<BottleneckClass> | undefined;
	/** Called for the first refusal after `takeRefusals`. */
	readonly onRefused: (limiter: Limiter) => void;
	readonly keysMax?: number;
}

// Numbers, not words: this is asked for every request.
export const ROOM = 0;
export const FULL = 1;
/** Room may come: the request has to wait for it. */
export const WAIT = 2;
export type Verdict = typeof ROOM | typeof FULL | typeof WAIT;

export class Limiter {
	readonly direction: Direction;
	readonly place: string;
	readonly #clock: Clock;
	readonly #local: LocalBuckets | undefined;
	readonly #shared: SharedBuckets | undefined;
	readonly #queues: WaitQueues | undefined;
	readonly #onRefused: (limiter: Limiter) => void;
	readonly #global: boolean;
	#policy: RateLimitPolicy;
	#detail = "";
	#policyLine = "";
	// About the request that was judged last.
	#key = "";
	#asks = false;
	#admitted = 0;
	#rejected = 0;
	#queued = 0;
	#timedOut = 0;
	#refusals: TopKeys | undefined;

	constructor(options: LimiterOptions) {
		const { policy, clock, rng, store } = options;
		this.direction = options.direction;
		this.place = options.place;
		this.#clock = clock;
		this.#onRefused = options.onRefused;
		this.#global = isGlobal(policy.key);
		this.#policy = policy;
		this.#describe();
		const { requestsPerSecond, burst, overflow, shared } = policy;
		const bounded = options.keysMax === undefined ? {} : { keysMax: options.keysMax };
		const common = { requestsPerSecond, burst, rng, single: this.#global, ...bounded };
		if (shared !== undefined && store !== undefined) {
			this.#shared = new SharedBuckets({ ...common, ...shared, store, clock, prefix: options.storePrefix });
		} else this.#local = new LocalBuckets({ ...common, nowMs: clock.monotonicMs() });
		if (overflow.kind === "queue" && options.bottleneck !== undefined) {
			const tryTake = (key: string, nowMs: number): number => this.#tryTake(key, nowMs);
			this.#queues = new WaitQueues({ ...overflow, bottleneck: options.bottleneck, clock, requestsPerSecond, tryTake });
		}
	}

	get policy(): RateLimitPolicy {
		return this.#policy;
	}

	/** A policy that differs in numbers and place alone: buckets and queues go on. */
	configure(policy: RateLimitPolicy): void {
		const nowMs = this.#clock.monotonicMs();
		const { requestsPerSecond, burst, overflow, shared } = policy;
		this.#policy = policy;
		this.#describe();
		this.#local?.configure(requestsPerSecond, burst, nowMs);
		if (shared !== undefined) this.#shared?.configure({ requestsPerSecond, burst, ...shared }, nowMs);
		if (overflow.kind === "queue") this.#queues?.configure(overflow.queuedMax, overflow.waitMaxMs, requestsPerSecond);
	}

	/** Whether this request may pass; takes nothing. What is asked next is about this request. */
	judge(subject: LimitSubject, nowMs: number): Verdict {
		return this.judgeKey(this.#global ? "" : limitKey(this.#policy.key, subject), nowMs);
	}

	judgeKey(key: string, nowMs: number): Verdict {
		this.#key = key;
		this.#asks = false;
		const queues = this.#queues;
		if (queues !== undefined && queues.waiting(key) > 0) return queues.accepts(key) ? WAIT : FULL;
		let room: boolean;
		if (this.#local !== undefined) room = this.#local.judge(key, nowMs);
		else {
			const verdict = this.#shared?.judge(key, nowMs);
			this.#asks = verdict === "ask";
			if (verdict === "ask") return WAIT;
			room = verdict === "room";
		}
		if (room) return ROOM;
		return queues?.accepts(key) === true ? WAIT : FULL;
	}

	/** Takes the token of the request that was judged last and found room. */
	take(nowMs: number): void {
		this.#admitted++;
		if (this.#local !== undefined) this.#local.take();
		else this.#shared?.take(nowMs);
	}

	/** As `take`, for a request that may yet be refused elsewhere. */
	takeForNow(nowMs: number): Taken {
		this.take(nowMs);
		return this.#taken(this.#key);
	}

	/** Stays counted as admitted: that is what this limit said. */
	giveBack(taken: Taken): void {
		const nowMs = this.#clock.monotonicMs();
		if (taken.source === "lease") this.#shared?.giveBack(taken.key, nowMs);
		else if (taken.source === "local") (this.#local ?? this.#shared?.local)?.giveBack(taken.key, taken.fullAtNs, nowMs);
	}

	keyOf(subject: LimitSubject): string {
		return this.#global ? "" : limitKey(this.#policy.key, subject);
	}

	/** 0..9; 5 where the header does not say. */
	priorityOf(subject: LimitSubject): number {
		const { overflow } = this.#policy;
		if (overflow.kind !== "queue" || overflow.priorityHeader === undefined) return PRIORITY_DEFAULT;
		const value = subject.header(overflow.priorityHeader);
		return value !== undefined && /^[0-9]$/.test(value) ? Number(value) : PRIORITY_DEFAULT;
	}

	/** Where `judge` has just said `WAIT`. */
	wait(turn: Turn): void {
		if (this.#asks) this.#shared?.wait(turn);
		else this.#enqueue(turn);
	}

	/** The wait of a turn has ended with a token. */
	granted(turn: Turn): Taken {
		this.#admitted++;
		return this.#taken(turn.key);
	}

	/** The shared store has nothing for this turn: whether it waits in the queue from now on. */
	waitsOn(turn: Turn, refusal: Refusal): boolean {
		if (refusal.reason === "queue_timeout" || this.#queues?.accepts(turn.key) !== true) return false;
		this.#enqueue(turn);
		return true;
	}

	/** The request has gone. */
	leave(turn: Turn): void {
		if (this.#queues?.leave(turn) !== true) this.#shared?.leave(turn);
	}

	/** The refusal of the request that was judged last. */
	refuse(nowMs: number): Limited {
		return this.limited(this.#key, { reason: "rate_limited", retryAfterMs: this.#retryAfterMs(nowMs) });
	}

	limited(key: string, { reason, retryAfterMs }: Refusal): Limited {
		if (reason === "queue_timeout") this.#timedOut++;
		else this.#rejected++;
		if (this.#refusals === undefined) {
			this.#refusals = new TopKeys();
			this.#onRefused(this);
		}
		this.#refusals.add(key);
		const { name, place } = this.#policy;
		return { limit: name, place, reason, detail: this.#detail, retryAfterMs, fieldLines: usedUpLine(name, retryAfterMs) + this.#policyLine };
	}

	/** What was refused since this was called the last time; keys as people may see them. */
	takeRefusals(topMax: number): { readonly refused: number; readonly top: readonly { readonly key: string; readonly refused: number }[] } {
		const refusals = this.#refusals;
		this.#refusals = undefined;
		if (refusals === undefined) return { refused: 0, top: [] };
		const top = refusals.top(topMax).map(({ key, count }) => ({ key: shownKey(this.#policy.key, key), refused: count }));
		return { refused: refusals.total, top };
	}

	/** What it would say now; takes nothing and remembers nothing. */
	explain(subject: LimitSubject, nowMs: number): ExplainedLimit {
		const { name, place, requestsPerSecond, burst } = this.#policy;
		const key = this.keyOf(subject);
		const shown = shownKey(this.#policy.key, key);
		const waiting = this.#queues?.waiting(key) ?? 0;
		const shared = this.#shared;
		const remaining = (this.#local ?? shared)?.remaining(key, nowMs) ?? 0;
		const admits = waiting === 0 && (shared === undefined ? remaining > 0 : shared.mayAdmit(key, nowMs));
		const left = shared === undefined ? `${remaining} of ${burst} left` : `${remaining} at hand, shared store ${shared.storeState}`;
		const text = `limit ${name} for ${shown}: ${left}${waiting === 0 ? "" : `, ${waiting} waiting`}`;
		const store = shared === undefined ? {} : { store: shared.storeState };
		return { text, place, data: { limit: name, key: shown, requestsPerSecond, burst, remaining, waiting, ...store }, admits };
	}

	view(): LimiterView {
		const shared = this.#shared;
		return {
			direction: this.direction,
			place: this.place,
			limit: this.#policy.name,
			admitted: this.#admitted,
			rejected: this.#rejected,
			queued: this.#queued,
			timedOut: this.#timedOut,
			waiting: this.#queues?.waitingTotal ?? 0,
			keys: shared?.keys ?? this.#local?.table.size ?? 0,
			overflows: shared?.overflows ?? this.#local?.table.overflows ?? 0,
			shared: shared === undefined ? undefined : shared.view(),
		};
	}

	#describe(): void {
		const { name, requestsPerSecond, burst, key } = this.#policy;
		this.#detail = `limit ${name}: ${requestsPerSecond} requests/s, burst ${burst}, for ${describeKey(key)}`;
		this.#policyLine = policyLine(this.#policy);
	}

	#enqueue(turn: Turn): void {
		this.#queued++;
		this.#queues?.join(turn);
	}

	#tryTake(key: string, nowMs: number): number {
		const local = this.#local;
		if (local === undefined) return this.#shared?.tryTake(key, nowMs) ?? 0;
		if (!local.judge(key, nowMs)) return local.waitMs;
		local.take();
		return 0;
	}

	#taken(key: string): Taken {
		const source = this.#shared?.source ?? "local";
		const buckets = this.#local ?? this.#shared?.local;
		return { key, source, fullAtNs: source === "local" && buckets !== undefined ? buckets.fullAtNs : 0 };
	}

	#retryAfterMs(nowMs: number): number {
		const ahead = this.#queues?.waiting(this.#key) ?? 0;
		// Behind a full queue: when those that wait have had their turn.
		if (ahead > 0) return ((ahead + 1) * 1000) / this.#policy.requestsPerSecond;
		return this.#local?.waitMs ?? this.#shared?.waitMs(nowMs) ?? 0;
	}
}
