/** Traces kept for a while: those that a caller asked for by a token, and those of the last requests that failed. */
import { RingQueue } from "../../core/ring-queue.ts";
import type { DecisionTrace } from "../../policy/decision-trace.ts";
import { traceBytes } from "./trace-size.ts";

export interface StoreLimits {
	readonly tracesMax: number;
	readonly bytesMax: number;
}

// Whoever sends `x-nexus-trace` asks for the trace within seconds; a loop that sends it always must not grow us.
const STORE_LIMITS: StoreLimits = Object.freeze({ tracesMax: 256, bytesMax: 1024 * 1024 });
// The start of an outage, which says what began it, is gone after these; the log and the events have it.
const FAILURE_LIMITS: StoreLimits = Object.freeze({ tracesMax: 100, bytesMax: 1024 * 1024 });

interface Kept {
	readonly trace: DecisionTrace;
	readonly bytes: number;
}

/** By id, for `GET /traces/ID`; the oldest go first. */
export class TraceStore {
	readonly #limits: StoreLimits;
	/** In the order of keeping. */
	readonly #kept = new Map<string, Kept>();
	#bytes = 0;

	constructor(limits: StoreLimits = STORE_LIMITS) {
		this.#limits = limits;
	}

	get size(): number {
		return this.#kept.size;
	}

	get bytes(): number {
		return this.#bytes;
	}

	/** A later trace of the same id replaces the earlier one. False where it alone is larger than all that may be kept. */
	put(id: string, trace: DecisionTrace): boolean {
		this.#remove(id);
		const bytes = traceBytes(trace) + id.length;
		if (bytes > this.#limits.bytesMax) return false;
		this.#kept.set(id, { trace, bytes });
		this.#bytes += bytes;
		for (const oldest of this.#kept.keys()) {
			if (this.#kept.size <= this.#limits.tracesMax && this.#bytes <= this.#limits.bytesMax) break;
			this.#remove(oldest);
		}
		return true;
	}

	get(id: string): DecisionTrace | undefined {
		return this.#kept.get(id)?.trace;
	}

	#remove(id: string): void {
		const kept = this.#kept.get(id);
		if (kept === undefined) return;
		this.#kept.delete(id);
		this.#bytes -= kept.bytes;
	}
}

/** Whether an exchange belongs into the ring: it has a reason, or was answered with 5xx, by whomever. */
export function isFailure(status: number, reason: string | undefined): boolean {
	return reason !== undefined || status >= 500;
}

/** The last failed exchanges, for `GET /failures`. */
export class FailureRing {
	readonly #limits: StoreLimits;
	readonly #kept: RingQueue<Kept>;
	#bytes = 0;

	constructor(limits: StoreLimits = FAILURE_LIMITS) {
		this.#limits = limits;
		this.#kept = new RingQueue(limits.tracesMax);
	}

	get size(): number {
		return this.#kept.size;
	}

	get bytes(): number {
		return this.#bytes;
	}

	/** Keeps it if it failed; says whether it did. */
	offer(trace: DecisionTrace): boolean {
		if (!isFailure(trace.status, trace.reason)) return false;
		const bytes = traceBytes(trace);
		if (bytes > this.#limits.bytesMax) return false;
		while (this.size === this.#limits.tracesMax || this.#bytes + bytes > this.#limits.bytesMax) {
			const oldest = this.#kept.shift();
			if (oldest === undefined) break;
			this.#bytes -= oldest.bytes;
		}
		if (!this.#kept.push({ trace, bytes })) return false;
		this.#bytes += bytes;
		return true;
	}

	/** Newest first. */
	list(): DecisionTrace[] {
		const newestFirst: DecisionTrace[] = [];
		// One lap: each goes to the back again, so that the order stays.
		for (let left = this.#kept.size; left > 0; left--) {
			const kept = this.#kept.shift();
			if (kept === undefined) break;
			this.#kept.push(kept);
			newestFirst.unshift(kept.trace);
		}
		return newestFirst;
	}
}
