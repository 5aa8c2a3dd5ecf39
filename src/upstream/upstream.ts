/** A service as its caller sees it: endpoints that come and go, and the picker over those that may be used. */
import type { LookupFunction } from "node:net";
import { buildPicker } from "../balance/build-picker.ts";
import type { Picker } from "../balance/picker.ts";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Rng } from "../core/rng.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import { addressText } from "../policy/address-text.ts";
import type { BalancingKind, EndpointPolicy, PoolLimits, Timeouts } from "../policy/snapshot.ts";
import { Endpoint, type EndpointHealth } from "./endpoint.ts";
import { Pool, type PoolOptions } from "./pool.ts";

export interface UpstreamOptions {
	readonly name: string;
	readonly loadBalancing: BalancingKind;
	readonly timeout: Timeouts;
	readonly pool: PoolLimits;
	/** Whether endpoints are checked: they begin as `pending` then, else as `unchecked`. */
	readonly checked: boolean;
	readonly holdWhileRefused: boolean;
	/** Resolves host names of endpoints; the system's where absent. */
	readonly lookup?: LookupFunction;
}

export interface UpstreamDeps {
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly rng: Rng;
}

export class Upstream {
	readonly name: string;
	#options: UpstreamOptions;
	readonly #deps: UpstreamDeps;
	readonly #endpoints = new Map<string, Endpoint>();
	#picker: Picker<Endpoint>;
	#resolved = false;

	constructor(options: UpstreamOptions, deps: UpstreamDeps) {
		this.name = options.name;
		this.#options = options;
		this.#deps = deps;
		this.#picker = buildPicker<Endpoint>(options.loadBalancing, [], deps.rng);
	}

	get options(): UpstreamOptions {
		return this.#options;
	}

	/** Whether its source has given a list yet. */
	get resolved(): boolean {
		return this.#resolved;
	}

	endpoints(): Iterable<Endpoint> {
		return this.#endpoints.values();
	}

	/** An endpoint that may be used, or undefined. `avoid` is passed over where another one exists. */
	pick(avoid?: Endpoint): Endpoint | undefined {
		return this.#picker.pick(avoid);
	}

	/** New timeouts, limits or balancing; endpoints, their connections, health and counters stay. */
	configure(options: UpstreamOptions): void {
		const rebalanced = options.loadBalancing !== this.#options.loadBalancing;
		if (options.checked !== this.#options.checked)
			for (const endpoint of this.#endpoints.values()) endpoint.health = options.checked ? "pending" : "unchecked";
		this.#options = options;
		for (const endpoint of this.#endpoints.values()) endpoint.pool.configure(this.#poolOptions(endpoint.policy));
		this.#publish(!rebalanced);
	}

	/** The whole list as its source knows it now: what stays keeps its connections, what is new begins, what is gone retires. */
	setEndpoints(list: readonly EndpointPolicy[]): void {
		const gone = new Set(this.#endpoints.keys());
		for (const policy of list) {
			const key = addressText(policy.address);
			gone.delete(key);
			const existing = this.#endpoints.get(key);
			if (existing !== undefined) existing.policy = policy;
			else {
				const pool = new Pool(this.#poolOptions(policy), this.#deps.wheel, this.#deps.shared);
				this.#endpoints.set(key, new Endpoint(key, policy, pool, this.#options.checked ? "pending" : "unchecked"));
			}
		}
		const retired = [...gone].map((key) => this.#endpoints.get(key));
		for (const key of gone) this.#endpoints.delete(key);
		this.#resolved = true;
		// First the picker, then the pools: a waiter that is sent away must not be given the same endpoint again.
		this.#publish(true);
		for (const endpoint of retired) endpoint?.pool.retire("no_healthy_endpoint");
	}

	/** The verdict of a health check. An endpoint that turned unhealthy gets no new requests and loses its connections after their answers. */
	setHealth(key: string, health: EndpointHealth): void {
		const endpoint = this.#endpoints.get(key);
		if (endpoint === undefined || endpoint.health === health) return;
		const wasUsable = endpoint.health !== "unhealthy";
		endpoint.health = health;
		// From pending to healthy nothing changes for the picker; a thousand first results must not build a thousand of them.
		if (wasUsable === (health !== "unhealthy")) return;
		this.#publish(true);
		if (health === "unhealthy") endpoint.pool.drain();
	}

	/** Taken out of the policy: nothing new comes in, what runs finishes. */
	retire(): void {
		for (const endpoint of this.#endpoints.values()) endpoint.pool.retire("no_route");
	}

	/** Closes every connection at once. */
	destroy(): void {
		for (const endpoint of this.#endpoints.values()) endpoint.pool.destroy();
	}

	#publish(carryOver: boolean): void {
		const usable = [...this.#endpoints.values()].filter((endpoint) => endpoint.health !== "unhealthy");
		this.#picker = buildPicker(this.#options.loadBalancing, usable, this.#deps.rng, carryOver ? this.#picker : undefined);
	}

	#poolOptions(policy: EndpointPolicy): PoolOptions {
		const { timeout, pool, holdWhileRefused, lookup } = this.#options;
		return {
			address: policy.address,
			connectTimeoutMs: timeout.connectMs,
			idleTimeoutMs: timeout.idleMs,
			connectionsMax: pool.connectionsMax,
			pendingMax: pool.pendingMax,
			pendingTimeoutMs: pool.pendingTimeoutMs,
			holdWhileRefused,
			...(lookup === undefined ? {} : { lookup }),
		};
	}
}
