/** Follows a mesh through the events that Nexus keeps: what passed each service, and what happened. */
import { codeOf, messageOf } from "../core/errors.ts";

// One page; the shop makes some ten events a second.
const EVENTS_PER_POLL = 1000;
const POLL_TIMEOUT_MS = 2_000;

/** An event as the API gives it; only what is read here. */
export interface StoredEvent {
	readonly sequence: number;
	readonly event: { readonly type: string; readonly source: string; readonly subject?: string; readonly time?: string; readonly data?: unknown };
}

export interface ServiceTraffic {
	requests: number;
	/** Those with 5xx or without any status. */
	failed: number;
	/** Latencies, not cumulated; the last bucket is beyond every bound. */
	boundsMs: readonly number[];
	counts: number[];
}

export interface Polled {
	/** What is not traffic, oldest first. */
	readonly happened: readonly StoredEvent[];
	/** Set where Nexus did not answer. */
	readonly fault: string | undefined;
}

export class MeshWatch {
	readonly #url: string;
	#after = 0;
	#traffic = new Map<string, ServiceTraffic>();

	/** `url` of Nexus, without a path. */
	constructor(url: string) {
		this.#url = url;
	}

	/** All events so far. */
	get events(): number {
		return this.#after;
	}

	/** Never rejects; what could not be read now is read by the next call. */
	async poll(): Promise<Polled> {
		const happened: StoredEvent[] = [];
		try {
			const url = `${this.#url}/v1/events?after=${this.#after}&limit=${EVENTS_PER_POLL}&order=asc`;
			const response = await fetch(url, { signal: AbortSignal.timeout(POLL_TIMEOUT_MS) });
			if (!response.ok) throw new Error(`status ${response.status}`);
			const { events } = (await response.json()) as { events: StoredEvent[] };
			for (const stored of events) {
				this.#after = stored.sequence;
				if (stored.event.type === "nexus.mesh.traffic.routed") addTraffic(this.#traffic, stored);
				else happened.push(stored);
			}
			return { happened, fault: undefined };
		} catch (error) {
			return { happened, fault: faultOf(error) };
		}
	}

	/** Inbound traffic by service since the last call. */
	takeTraffic(): ReadonlyMap<string, ServiceTraffic> {
		const taken = this.#traffic;
		this.#traffic = new Map();
		return taken;
	}
}

interface RoutedData {
	readonly direction: string;
	readonly outcome: string;
	readonly count: number;
	readonly latency: { readonly boundsMs: readonly number[]; readonly counts: readonly number[] };
}

function addTraffic(traffic: Map<string, ServiceTraffic>, { event }: StoredEvent): void {
	const { direction, outcome, count, latency } = event.data as RoutedData;
	if (direction !== "inbound") return;
	const service = serviceOf(event.source);
	let sum = traffic.get(service);
	if (sum === undefined) {
		sum = { requests: 0, failed: 0, boundsMs: latency.boundsMs, counts: latency.counts.map(() => 0) };
		traffic.set(service, sum);
	}
	sum.requests += count;
	// An outcome is a status class, or the reason of an answer that the sidecar gave itself.
	if (!/^[1-4]xx$/.test(outcome)) sum.failed += count;
	latency.counts.forEach((n, bucket) => {
		sum.counts[bucket] = (sum.counts[bucket] ?? 0) + n;
	});
}

/** `/mesh/SERVICE/INSTANCE` -> SERVICE. */
export function serviceOf(source: string): string {
	return source.split("/")[2] ?? source;
}

/** The bound below which a `share` (0..1) of the latencies lies; undefined without any. */
export function quantileMs({ boundsMs, counts }: ServiceTraffic, share: number): number | undefined {
	const total = counts.reduce((sum, n) => sum + n, 0);
	if (total === 0) return undefined;
	let seen = 0;
	for (const [bucket, n] of counts.entries()) {
		seen += n;
		if (seen >= total * share) return boundsMs[bucket] ?? Number.POSITIVE_INFINITY;
	}
	return undefined;
}

function faultOf(error: unknown): string {
	// fetch hides what happened in the cause.
	const cause = error instanceof Error && codeOf(error.cause) !== undefined ? error.cause : error;
	return messageOf(cause);
}
