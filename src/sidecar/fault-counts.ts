/** How often injected faults have acted: totals for metrics, and one event a second and fault, never one per attempt. */
import type { Clock, Timer } from "../core/clock.ts";
import type { FaultPolicy } from "../policy/resilience-policy.ts";
import type { EventFeed } from "./telling/event-feed.ts";

const WINDOW_MS = 1000;
// Four times the leases: names come and go through the admin API, and each is a label of a metric.
const TOTALS_MAX = 256;
// An event for people; an upstream may have thousands of endpoints.
const ENDPOINTS_MAX = 100;

export interface FaultTotal {
	readonly fault: string;
	readonly kind: string;
	readonly count: number;
}

interface Total {
	readonly fault: string;
	readonly kind: string;
	count: number;
}

interface Seen {
	readonly fault: FaultPolicy;
	count: number;
	readonly endpoints: Set<string>;
}

export class FaultCounts {
	readonly #clock: Clock;
	readonly #feed: Pick<EventFeed, "emit">;
	/** By name and kind; the one that has rested longest goes first. */
	readonly #totals = new Map<string, Total>();
	readonly #window = new Map<FaultPolicy, Seen>();
	#windowStartMs = 0;
	#timer: Timer | undefined;

	constructor(clock: Clock, feed: Pick<EventFeed, "emit">) {
		this.#clock = clock;
		this.#feed = feed;
	}

	add(fault: FaultPolicy, endpoint: string): void {
		this.#addTotal(fault);
		if (this.#timer === undefined) {
			this.#windowStartMs = this.#clock.monotonicMs();
			this.#timer = this.#clock.setTimer(WINDOW_MS, () => this.#tell());
		}
		let seen = this.#window.get(fault);
		if (seen === undefined) {
			seen = { fault, count: 0, endpoints: new Set() };
			this.#window.set(fault, seen);
		}
		seen.count++;
		if (seen.endpoints.size < ENDPOINTS_MAX) seen.endpoints.add(endpoint);
	}

	/** Under this name, also of a fault that had it before. */
	total(fault: FaultPolicy): number {
		return this.#totals.get(keyOf(fault))?.count ?? 0;
	}

	totals(): Iterable<FaultTotal> {
		return this.#totals.values();
	}

	/** Tells the last, shorter window. */
	stop(): void {
		this.#timer?.cancel();
		if (this.#timer !== undefined) this.#tell();
	}

	#addTotal(fault: FaultPolicy): void {
		const key = keyOf(fault);
		const total = this.#totals.get(key) ?? { fault: fault.name, kind: fault.action.kind, count: 0 };
		total.count++;
		// Put in again, so that the map stays in the order of last use; this runs only while faults act.
		this.#totals.delete(key);
		this.#totals.set(key, total);
		if (this.#totals.size <= TOTALS_MAX) return;
		for (const oldest of this.#totals.keys()) {
			this.#totals.delete(oldest);
			break;
		}
	}

	#tell(): void {
		this.#timer = undefined;
		const windowMs = Math.round(this.#clock.monotonicMs() - this.#windowStartMs);
		for (const { fault, count, endpoints } of this.#window.values()) {
			const { name, upstream, action } = fault;
			this.#feed.emit(
				"nexus.mesh.fault.injected",
				{ windowMs, fault: name, upstream, kind: action.kind, count, endpoints: [...endpoints] },
				upstream,
			);
		}
		this.#window.clear();
	}
}

function keyOf({ name, action }: FaultPolicy): string {
	return `${name} ${action.kind}`;
}
