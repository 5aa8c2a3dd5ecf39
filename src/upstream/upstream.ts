/** A service as its caller sees it: endpoints that come and go, the picker over those that may be used, and what guards it. */
import type { LookupFunction } from "node:net";
import { type Arrangement, buildBalancer } from "../balance/build-balancer.ts";
import { PeakEwma } from "../balance/peak-ewma.ts";
import { SlowStart } from "../balance/slow-start.ts";
import type { Clock, Timer } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Rng } from "../core/rng.ts";
import type { Hash64 } from "../core/xxh64.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import { addressText } from "../policy/address-text.ts";
import type { BalancingKind, BalancingPolicy, EndpointPolicy, PoolLimits, Timeouts } from "../policy/snapshot.ts";
import type { FaultInjector } from "../resilience/fault/fault-injector.ts";
import type { Encryption } from "./encryption.ts";
import { Endpoint, type EndpointHealth } from "./endpoint.ts";
import { type GuardObserver, type GuardPolicies, Guards } from "./guards.ts";
import { Pool, type PoolOptions } from "./pool.ts";

export interface UpstreamOptions {
	readonly name: string;
	readonly loadBalancing: BalancingKind;
	readonly balancing: BalancingPolicy;
	readonly guards: GuardPolicies;
	readonly timeout: Timeouts;
	readonly pool: PoolLimits;
	/** Whether endpoints are checked: they begin as `pending` then, else as `unchecked`. */
	readonly checked: boolean;
	readonly holdWhileRefused: boolean;
	/** Where this sidecar runs, for zone-aware balancing. */
	readonly zone: string | undefined;
	/** Resolves host names of endpoints; the system's where absent. */
	readonly lookup?: LookupFunction;
	/** Undefined: plain text. The same object as before where nothing has changed. */
	readonly encryption?: Encryption | undefined;
}

export interface UpstreamDeps {
	readonly clock: Clock;
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly rng: Rng;
	readonly guardObserver?: GuardObserver;
}

// With more draws than this a balancer that keeps offering what has failed is asked no longer; the list is searched.
const DRAWS_MAX = 4;

export class Upstream {
	readonly name: string;
	readonly guards: Guards;
	/** Faults that are in force here; undefined where there is no way to inject any. */
	faults: FaultInjector | undefined;
	/** Picks made while so few endpoints were usable that all were used. */
	panicPicks = 0;
	#options: UpstreamOptions;
	readonly #deps: UpstreamDeps;
	readonly #endpoints = new Map<string, Endpoint>();
	#balancer: Arrangement<Endpoint>;
	#slowStart: SlowStart | undefined;
	#warming: Timer | undefined;
	#resolved = false;

	constructor(options: UpstreamOptions, deps: UpstreamDeps) {
		this.name = options.name;
		this.#options = options;
		this.#deps = deps;
		const { clock, rng, guardObserver: observer } = deps;
		this.guards = new Guards(options.name, options.guards, { clock, rng, observer, onMembership: () => this.#publish(true) });
		this.#applySlowStart();
		this.#balancer = this.#build(undefined);
	}

	get options(): UpstreamOptions {
		return this.#options;
	}

	/** Whether its source has given a list yet. */
	get resolved(): boolean {
		return this.#resolved;
	}

	/** Whether all endpoints are used because too few are well. */
	get panic(): boolean {
		return this.#balancer.panic;
	}

	endpoints(): Iterable<Endpoint> {
		return this.#endpoints.values();
	}

	/** An endpoint that may be used, or undefined. Those of `avoid` are passed over where another one exists. */
	pick(avoid: readonly Endpoint[] = NONE, hash?: Hash64): Endpoint | undefined {
		if (this.#balancer.panic) this.panicPicks++;
		const { picker, groups } = this.#balancer;
		const { loadBalancing } = this.#options;
		// The next one by turns is the neighbour of the one that failed, for every request alike: dead neighbours would take all of its tries.
		const byTurns = loadBalancing === "round-robin" || loadBalancing === "weighted";
		const drawn = avoid.length > 0 && byTurns && groups.length === 1 ? this.#draw(avoid) : undefined;
		if (drawn !== undefined) return drawn;
		const first = picker.pick(avoid.at(-1), hash);
		if (avoid.length === 0 || first === undefined || !avoid.includes(first)) return first;
		for (let draw = 1; draw < DRAWS_MAX; draw++) {
			const next = picker.pick(avoid.at(-1), hash);
			if (next !== undefined && !avoid.includes(next)) return next;
		}
		return this.other(avoid) ?? first;
	}

	/** By chance and weight, in one walk. */
	#draw(avoid: readonly Endpoint[]): Endpoint | undefined {
		let drawn: Endpoint | undefined;
		let weights = 0;
		for (const endpoint of this.#endpoints.values()) {
			if (!endpoint.usable || avoid.includes(endpoint)) continue;
			weights += endpoint.weight;
			if (this.#deps.rng() * weights < endpoint.weight) drawn = endpoint;
		}
		return drawn;
	}

	/** A usable endpoint that is none of `avoid`. */
	other(avoid: readonly Endpoint[]): Endpoint | undefined {
		for (const endpoint of this.#endpoints.values()) if (endpoint.usable && !avoid.includes(endpoint)) return endpoint;
		return undefined;
	}

	/** New timeouts, limits or balancing; endpoints, their connections, health and counters stay. */
	configure(options: UpstreamOptions): void {
		const before = this.#options;
		if (options.checked !== before.checked)
			for (const endpoint of this.#endpoints.values()) endpoint.health = options.checked ? "pending" : "unchecked";
		this.#options = options;
		this.guards.configure(options.guards);
		this.guards.outlier?.setHosts(this.#endpoints.keys());
		this.#applySlowStart();
		for (const endpoint of this.#endpoints.values()) {
			endpoint.pool.configure(this.#poolOptions(endpoint.policy));
			this.#guard(endpoint);
		}
		this.#publish(options.loadBalancing === before.loadBalancing && options.balancing === before.balancing);
	}

	/** The whole list as its source knows it now: what stays keeps its connections, what is new begins, what is gone retires. */
	setEndpoints(list: readonly EndpointPolicy[]): void {
		const gone = new Set(this.#endpoints.keys());
		const nowMs = this.#deps.clock.monotonicMs();
		for (const policy of list) {
			const key = addressText(policy.address);
			gone.delete(key);
			const existing = this.#endpoints.get(key);
			if (existing !== undefined) {
				existing.policy = policy;
				continue;
			}
			const pool = new Pool(this.#poolOptions(policy), this.#deps.wheel, this.#deps.shared);
			const endpoint = new Endpoint(key, policy, pool, this.#options.checked ? "pending" : "unchecked");
			// The first list is what was there before us: nothing of it is new.
			endpoint.sinceMs = this.#resolved ? nowMs : Number.NEGATIVE_INFINITY;
			this.#endpoints.set(key, endpoint);
		}
		const retired = [...gone].map((key) => this.#endpoints.get(key));
		for (const key of gone) this.#endpoints.delete(key);
		this.guards.outlier?.setHosts(this.#endpoints.keys());
		if (this.#options.guards.circuitBreaker?.scope === "endpoint") this.guards.breakers?.retain(this.#endpoints);
		for (const endpoint of this.#endpoints.values()) this.#guard(endpoint);
		this.#resolved = true;
		// First the picker, then the pools: a waiter that is sent away must not be given the same endpoint again.
		this.#publish(true);
		for (const endpoint of retired) endpoint?.pool.retire("no_healthy_endpoint");
	}

	/** The verdict of a health check. An endpoint that turned unhealthy gets no new requests and loses its connections after their answers. */
	setHealth(key: string, health: EndpointHealth): void {
		const endpoint = this.#endpoints.get(key);
		if (endpoint === undefined) return;
		if (endpoint.health === health) return;
		const wasUsable = endpoint.usable;
		if (health === "healthy" && endpoint.health === "unhealthy") endpoint.sinceMs = this.#deps.clock.monotonicMs();
		endpoint.health = health;
		if (health === "unhealthy") endpoint.pool.drain();
		// From pending to healthy nothing changes for the picker; a thousand first results must not build a thousand of them.
		if (wasUsable !== endpoint.usable) this.#publish(true);
	}

	/** Taken out of the policy: nothing new comes in, what runs finishes. */
	retire(): void {
		this.#stop();
		for (const endpoint of this.#endpoints.values()) endpoint.pool.retire("no_route");
	}

	/** Closes every connection at once. */
	destroy(): void {
		this.#stop();
		for (const endpoint of this.#endpoints.values()) endpoint.pool.destroy();
	}

	#stop(): void {
		this.guards.stop();
		this.#warming?.cancel();
		this.#warming = undefined;
	}

	#guard(endpoint: Endpoint): void {
		endpoint.outlier = this.guards.outlier?.host(endpoint.key);
		endpoint.breaker = this.guards.breakerOf(endpoint.key);
		if (this.#options.loadBalancing === "peak-ewma") endpoint.latency ??= new PeakEwma(this.#deps.clock.monotonicMs());
		else endpoint.latency = undefined;
	}

	#applySlowStart(): void {
		const { balancing, loadBalancing } = this.#options;
		const { slowStart } = balancing;
		// A table of hashes does not change with weights that grow: that would move the keys about.
		const hashing = loadBalancing === "ring-hash" || loadBalancing === "maglev";
		this.#slowStart = slowStart === undefined || hashing ? undefined : new SlowStart(slowStart);
	}

	#publish(carryOver: boolean): void {
		this.#balancer = this.#build(carryOver ? this.#balancer : undefined);
	}

	#build(previous: Arrangement<Endpoint> | undefined): Arrangement<Endpoint> {
		const { clock, rng } = this.#deps;
		const { loadBalancing, balancing, zone } = this.#options;
		const now = (): number => clock.monotonicMs();
		const slowStart = this.#slowStart;
		const nowMs = now();
		if (slowStart !== undefined) this.#warm(slowStart, nowMs);
		return buildBalancer(loadBalancing, balancing, [...this.#endpoints.values()], {
			ownZone: zone,
			rng,
			now,
			...(previous === undefined ? {} : { previous }),
			...(slowStart === undefined ? {} : { weightOf: (endpoint: Endpoint) => slowStart.weightOf(endpoint, nowMs) }),
		});
	}

	/** Weights that grow are built into the picker step by step, by one timer, while anybody warms up. */
	#warm(slowStart: SlowStart, nowMs: number): void {
		this.#warming?.cancel();
		this.#warming = undefined;
		const nextMs = slowStart.nextChangeMs(this.#endpoints.values(), nowMs);
		if (nextMs !== undefined) this.#warming = this.#deps.clock.setTimer(Math.max(1, nextMs - nowMs), () => this.#publish(true));
	}

	#poolOptions(policy: EndpointPolicy): PoolOptions {
		const { timeout, pool, holdWhileRefused, lookup, encryption } = this.#options;
		return {
			address: policy.address,
			connectTimeoutMs: timeout.connectMs,
			idleTimeoutMs: timeout.idleMs,
			connectionsMax: pool.connectionsMax,
			pendingMax: pool.pendingMax,
			pendingTimeoutMs: pool.pendingTimeoutMs,
			holdWhileRefused,
			...(lookup === undefined ? {} : { lookup }),
			...(encryption === undefined ? {} : { encryption }),
		};
	}
}

const NONE: readonly Endpoint[] = Object.freeze([]);
