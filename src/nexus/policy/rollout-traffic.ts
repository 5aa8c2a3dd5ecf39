/** What a roll-out is judged by: the rollups of one service, read from the event log, sorted into staged, others, and staged before. */
import type { EventLog } from "../log/event-log.ts";
import type { Comparison } from "./rollout-judge.ts";
import { type Rollup, Tally } from "./traffic-tally.ts";

const TYPE = "nexus.mesh.traffic.routed";
/** What the staged ones did before: long enough for a share, short enough to be the same weather. */
const BEFORE_MS = 60_000;
/** It acts a moment before it is said to be in force. */
const CHANGE_MS = 500;
const PAGE_EVENTS = 1_000;
/** One look reads no more, so that it gives way to others; the next one goes on. */
const PAGES_MAX = 50;

export interface StagedInstance {
	/** When it took the new version, by its own clock; undefined while it has not. */
	readonly sinceMs: number | undefined;
}

export interface RolloutTrafficOptions {
	readonly log: EventLog;
	readonly service: string;
	/** When the stage began: events behind this sequence are of it. */
	readonly afterSequence: number;
	/** The same by the clock of Nexus. */
	readonly stageMs: number;
	/** Whose turn it is; undefined: it is one of the others. */
	readonly staged: (instance: string) => StagedInstance | undefined;
}

interface RolledUp {
	readonly source?: unknown;
	readonly time?: unknown;
	readonly data?: {
		readonly windowMs?: unknown;
		readonly direction?: unknown;
		readonly outcome?: unknown;
		readonly count?: unknown;
		readonly latency?: { readonly counts?: unknown };
	};
}

export class RolloutTraffic {
	readonly #options: RolloutTrafficOptions;
	readonly #prefix: string;
	readonly #mark: Buffer;
	readonly #byDirection = new Map<string, Comparison>();
	#after: number | undefined;

	constructor(options: RolloutTrafficOptions) {
		this.#options = options;
		this.#prefix = `/mesh/${options.service}/`;
		this.#mark = Buffer.from(this.#prefix);
	}

	get comparisons(): readonly Comparison[] {
		return [...this.#byDirection.values()];
	}

	/** Takes what has come since the last time. Rejects as the log does. */
	async read(): Promise<void> {
		const { log, stageMs } = this.#options;
		for (let page = 0; page < PAGES_MAX; page++) {
			const from = this.#after === undefined ? { sinceMs: stageMs - BEFORE_MS } : { after: this.#after };
			const { events, scannedTo, atEnd } = await log.read({ type: TYPE, ...from, order: "asc", limit: PAGE_EVENTS });
			for (const { sequence, json } of events) if (json.includes(this.#mark)) this.#take(sequence, json);
			this.#after = scannedTo;
			if (atEnd) return;
		}
	}

	#take(sequence: number, json: Buffer): void {
		const event = JSON.parse(json.toString()) as RolledUp;
		const endMs = typeof event.time === "string" ? Date.parse(event.time) : Number.NaN;
		if (typeof event.source !== "string" || !event.source.startsWith(this.#prefix) || Number.isNaN(endMs)) return;
		const { windowMs, direction, outcome, count, latency } = event.data ?? {};
		if (typeof windowMs !== "number" || typeof outcome !== "string" || typeof count !== "number") return;
		if (direction !== "inbound" && direction !== "outbound") return;
		const instance = event.source.slice(this.#prefix.length);
		const group = this.#groupOf(instance, sequence, endMs - windowMs, endMs);
		if (group === undefined) return;
		const latencies = Array.isArray(latency?.counts) ? latency.counts.map(Number) : [];
		this.#comparison(direction)[group].add({ instance, second: Math.floor(endMs / 1000), outcome, count, latencies } satisfies Rollup);
	}

	/** A window in which the version changed is of neither. */
	#groupOf(instance: string, sequence: number, beginMs: number, endMs: number): "staged" | "others" | "before" | undefined {
		const { afterSequence, staged } = this.#options;
		const turn = staged(instance);
		const isNow = sequence > afterSequence;
		if (turn === undefined) return isNow ? "others" : undefined;
		if (turn.sinceMs === undefined) return "before";
		if (beginMs >= turn.sinceMs) return isNow ? "staged" : undefined;
		return beginMs < turn.sinceMs - BEFORE_MS || endMs > turn.sinceMs - CHANGE_MS ? undefined : "before";
	}

	#comparison(direction: string): Comparison {
		let comparison = this.#byDirection.get(direction);
		if (comparison === undefined) {
			comparison = { direction, staged: new Tally(), others: new Tally(), before: new Tally() };
			this.#byDirection.set(direction, comparison);
		}
		return comparison;
	}
}
