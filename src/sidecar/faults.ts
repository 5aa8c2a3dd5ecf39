/**
 * The faults in force: those of the policy, and leases that somebody has put on this sidecar. Leases live in memory only and end
 * by themselves, so that one is never left behind, whoever is gone by then.
 */
import type { Clock, Timer } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import type { NexusEventData } from "../events/catalogue.ts";
import type { MetricSource } from "../metrics/source.ts";
import { placeText } from "../policy/explain.ts";
import type { FaultAction, FaultPolicy } from "../policy/resilience-policy.ts";
import type { RouteMatch, Snapshot } from "../policy/snapshot.ts";
import { isSameFault, leaseEndMs } from "../resilience/fault/armed-fault.ts";
import { FaultInjector } from "../resilience/fault/fault-injector.ts";
import { FaultCounts } from "./fault-counts.ts";
import type { EventFeed } from "./telling/event-feed.ts";

export interface FaultBookDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly feed: Pick<EventFeed, "emit">;
}

/** A fault in force, as people see it. */
export interface FaultView {
	readonly name: string;
	readonly upstream: string;
	readonly source: "policy" | "lease";
	/** `file:line:column`; null for a lease. */
	readonly place: string | null;
	readonly action: FaultAction;
	readonly percent: number;
	readonly match: RouteMatch | null;
	/** Empty: every endpoint. */
	readonly endpoints: readonly string[];
	readonly maxAffected: number | null;
	readonly exempt: boolean;
	/** ISO 8601, by the wall clock when it came; null: until the policy changes. */
	readonly expiresAt: string | null;
	/** Left of it, in milliseconds. */
	readonly endsInMs: number | null;
	/** Attempts that met it, under this name, since the process began. */
	readonly injected: number;
}

export type PutResult =
	| { readonly kind: "added" | "replaced"; readonly fault: FaultView }
	/** The policy has no such upstream; it has these. */
	| { readonly kind: "no_upstream"; readonly known: readonly string[] }
	/** A fault of the policy has this name: it is changed there. */
	| { readonly kind: "in_policy"; readonly place: string }
	| { readonly kind: "too_many"; readonly max: number };

export type RemoveResult = { readonly kind: "removed" } | { readonly kind: "unknown" } | { readonly kind: "in_policy"; readonly place: string };

type Change = NexusEventData["nexus.chaos.inject.failure"]["change"];

// More than anybody can keep in mind; each is looked at for each attempt at its upstream.
export const LEASES_MAX = 64;
// Timers of the runtime reach 24.8 days; a policy may name a day beyond that.
const TIMER_MS_MAX = 24 * 3_600_000;

/** One fault, and when it ends. */
interface Held {
	fault: FaultPolicy;
	readonly endsAtMs: number;
	timer: Timer | undefined;
	/** Over, but still written in the policy. */
	over: boolean;
}

export class FaultBook implements MetricSource {
	readonly #deps: FaultBookDeps;
	readonly #injectors = new Map<string, FaultInjector>();
	readonly #leases = new Map<string, Held>();
	#written: readonly Held[] = [];
	#service = "";
	#upstreams: ReadonlySet<string> = new Set();
	readonly #counts: FaultCounts;

	constructor(deps: FaultBookDeps) {
		this.#deps = deps;
		this.#counts = new FaultCounts(deps.clock, deps.feed);
	}

	/** The faults of one upstream; the same object for as long as the policy has it. */
	injector(upstream: string): FaultInjector {
		let injector = this.#injectors.get(upstream);
		if (injector === undefined) {
			const { clock, rng } = this.#deps;
			injector = new FaultInjector({ clock, rng, onInjected: (fault, endpoint) => this.#counts.add(fault, endpoint) });
			this.#injectors.set(upstream, injector);
		}
		return injector;
	}

	/** Faults that say the same as before go on, or stay over; leases for upstreams that are gone end, and those whose name the policy takes. */
	applyPolicy({ service, upstreams }: Snapshot): void {
		this.#service = service;
		const before = new Map(this.#written.map((held) => [keyOf(held.fault), held]));
		const wereInForce = new Map(this.#written.filter(isInForce).map(({ fault }) => [keyOf(fault), fault]));
		this.#upstreams = new Set(upstreams.keys());
		this.#written = Array.from(upstreams.values(), ({ faults }) => faults.map((fault) => this.#carryOver(fault, before))).flat();
		const kept = new Set(this.#written);
		for (const held of before.values()) if (!kept.has(held)) this.#drop(held);
		const names = new Set(this.#written.map(({ fault }) => fault.name));
		for (const held of this.#leases.values()) {
			const { name, upstream } = held.fault;
			if (!this.#upstreams.has(upstream) || names.has(name)) this.#end(held, "removed");
		}
		this.#tellChanges(wereInForce);
		const inForce = Map.groupBy(this.#inForce(), ({ upstream }) => upstream);
		for (const upstream of this.#upstreams) this.injector(upstream).set(inForce.get(upstream) ?? [], service);
		for (const [upstream, injector] of this.#injectors) {
			if (this.#upstreams.has(upstream)) continue;
			injector.set([]);
			this.#injectors.delete(upstream);
		}
	}

	/** Puts a lease in force, in place of the one of that name. `fault.expiresAtMs` is given, and bounded by whoever read it. */
	put(fault: FaultPolicy): PutResult {
		const { name, upstream } = fault;
		if (fault.expiresAtMs === undefined) throw new Error(`lease ${name} has no end`);
		if (!this.#upstreams.has(upstream)) return { kind: "no_upstream", known: [...this.#upstreams] };
		const written = this.#written.find((held) => held.fault.name === name);
		if (written !== undefined) return { kind: "in_policy", place: placeOf(written.fault) };
		const former = this.#leases.get(name);
		if (former === undefined && this.#leases.size >= LEASES_MAX) return { kind: "too_many", max: LEASES_MAX };
		if (former !== undefined) this.#drop(former);
		const held = this.#hold(fault);
		this.#leases.set(name, held);
		this.#arm(upstream);
		if (former !== undefined && former.fault.upstream !== upstream) this.#arm(former.fault.upstream);
		const kind = former === undefined ? "added" : "replaced";
		this.#tell(fault, kind);
		return { kind, fault: this.#view(held, "lease") };
	}

	/** Ends a lease at once. */
	remove(name: string): RemoveResult {
		const held = this.#leases.get(name);
		if (held === undefined) {
			const written = this.#written.find(({ fault }) => fault.name === name);
			return written === undefined ? { kind: "unknown" } : { kind: "in_policy", place: placeOf(written.fault) };
		}
		this.#end(held, "removed");
		return { kind: "removed" };
	}

	/** All that are in force, those of the policy first. */
	list(): readonly FaultView[] {
		return [
			...this.#written.filter(isInForce).map((held) => this.#view(held, "policy")),
			...Array.from(this.#leases.values(), (held) => this.#view(held, "lease")),
		];
	}

	collect(emit: Parameters<MetricSource["collect"]>[0]): void {
		emit("nexus_faults_active", {}, this.#inForce().length);
		for (const { fault, kind, count } of this.#counts.totals()) emit("nexus_faults_injected_total", { fault, kind }, count);
	}

	/** Nothing is injected any more; the last window is told. */
	stop(): void {
		for (const held of [...this.#written, ...this.#leases.values()]) this.#drop(held);
		for (const injector of this.#injectors.values()) injector.set([]);
		this.#counts.stop();
	}

	/** The one before that says the same, with the line where it stands now and the end that it had (`for` counts once); else a new one. */
	#carryOver(fault: FaultPolicy, before: ReadonlyMap<string, Held>): Held {
		const same = before.get(keyOf(fault));
		if (same !== undefined && isSameFault(same.fault, fault)) {
			same.fault = { ...fault, expiresAtMs: same.fault.expiresAtMs };
			return same;
		}
		const held = this.#hold(fault);
		// Past when it was read: it never was in force, so that it does not end either.
		if (held.endsAtMs <= this.#deps.clock.monotonicMs()) this.#drop(held);
		return held;
	}

	#hold(fault: FaultPolicy): Held {
		const held: Held = { fault, endsAtMs: leaseEndMs(fault.expiresAtMs, this.#deps.clock), timer: undefined, over: false };
		this.#watch(held);
		return held;
	}

	#watch(held: Held): void {
		if (held.endsAtMs === Number.POSITIVE_INFINITY) return;
		const { clock } = this.#deps;
		const leftMs = held.endsAtMs - clock.monotonicMs();
		held.timer = clock.setTimer(Math.min(Math.max(0, Math.ceil(leftMs)), TIMER_MS_MAX), () => {
			if (clock.monotonicMs() < held.endsAtMs) this.#watch(held);
			else this.#end(held, "expired");
		});
	}

	#end(held: Held, change: Change): void {
		if (this.#leases.get(held.fault.name) === held) this.#leases.delete(held.fault.name);
		this.#drop(held);
		this.#arm(held.fault.upstream);
		this.#tell(held.fault, change);
	}

	#drop(held: Held): void {
		held.over = true;
		held.timer?.cancel();
		held.timer = undefined;
	}

	#inForce(): FaultPolicy[] {
		return [...this.#written, ...this.#leases.values()].filter(isInForce).map(({ fault }) => fault);
	}

	#arm(upstream: string): void {
		const faults = this.#inForce().filter((fault) => fault.upstream === upstream);
		this.injector(upstream).set(faults, this.#service);
	}

	#tellChanges(before: ReadonlyMap<string, FaultPolicy>): void {
		const now = new Map(this.#written.filter(isInForce).map(({ fault }) => [keyOf(fault), fault]));
		for (const [key, fault] of now) {
			const former = before.get(key);
			if (former === undefined || !isSameFault(former, fault)) this.#tell(fault, former === undefined ? "added" : "replaced");
		}
		for (const [key, fault] of before) if (!now.has(key)) this.#tell(fault, "removed");
	}

	#tell(fault: FaultPolicy, change: Change): void {
		const { name, upstream, action, percent, expiresAtMs } = fault;
		const expiresAt = expiresAtMs === undefined ? "" : isoTime(expiresAtMs);
		this.#deps.feed.emit("nexus.chaos.inject.failure", { fault: name, upstream, kind: action.kind, percent, change, expiresAt }, upstream);
	}

	#view({ fault, endsAtMs }: Held, source: FaultView["source"]): FaultView {
		const { name, upstream, place, action, percent, match, endpoints, endpointsMax, exempt, expiresAtMs } = fault;
		return {
			name,
			upstream,
			source,
			place: place === undefined ? null : placeText(place),
			action,
			percent,
			match: match ?? null,
			endpoints,
			maxAffected: endpointsMax ?? null,
			exempt,
			expiresAt: expiresAtMs === undefined ? null : isoTime(expiresAtMs),
			endsInMs: expiresAtMs === undefined ? null : Math.max(0, Math.round(endsAtMs - this.#deps.clock.monotonicMs())),
			injected: this.#counts.total(fault),
		};
	}
}

function isInForce({ over }: Held): boolean {
	return !over;
}

/** One key of a policy's fault may do several things at once: each is a fault of its own. */
function keyOf({ upstream, name, action }: FaultPolicy): string {
	return `${upstream} ${name} ${action.kind}`;
}

function placeOf({ place }: FaultPolicy): string {
	return place === undefined ? "" : placeText(place);
}

function isoTime(wallMs: number): string {
	return new Date(wallMs).toISOString();
}
