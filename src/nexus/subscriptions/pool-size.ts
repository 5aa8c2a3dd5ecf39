/** How many deliveries of a subscription may be under way: between its bounds, by lag and latency. Arithmetic alone; told once a second. */

export interface PoolSample {
	/** Mean of the deliveries that were under way since the last sample. */
	readonly busy: number;
	/** Most of them at one time. */
	readonly busyMax: number;
	/** Events that wait. */
	readonly waiting: number;
	readonly acked: number;
	readonly failed: number;
	/** Mean of the deliveries that ended; undefined where none did. */
	readonly latencyMs: number | undefined;
}

// Above this the pool is what holds events up; below that it is too large. The wide gap between is what keeps it from swinging.
const FULL = 0.85;
const IDLE = 0.4;
const GROWTH = 1.5;
/** Samples in a row that must agree before it shrinks: load that comes in waves keeps its pool. */
const IDLE_SAMPLES = 10;
/** More at a time does not help a consumer that has become so much slower by it. */
const LATENCY_FACTOR = 2;
/** Below that, latency is noise. */
const LATENCY_FLOOR_MS = 5;
/** After growth did not help: samples before it is tried again. */
const PATIENCE_SAMPLES = 15;
/** The memory of the best latency fades, so that a consumer that has become slower for good is not starved for ever. */
const BASE_FADE = 0.05;

export class PoolSize {
	readonly #min: number;
	readonly #max: number;
	#size: number;
	#idle = 0;
	#peak = 0;
	#patience = 0;
	#baseMs: number | undefined;
	/** Nothing but failures: one at a time, until one succeeds. */
	#isProbing = false;

	constructor(min: number, max: number) {
		this.#min = min;
		this.#max = max;
		this.#size = min;
	}

	get size(): number {
		return this.#isProbing ? 1 : this.#size;
	}

	/** Nothing more could be learnt from samples without load. */
	get isAtRest(): boolean {
		return this.#size === this.#min;
	}

	/** One delivery has arrived: probing is over. */
	succeeded(): void {
		this.#isProbing = false;
	}

	/** Once a second. */
	sample({ busy, busyMax, waiting, acked, failed, latencyMs }: PoolSample): void {
		if (acked === 0 && failed > 0) this.#isProbing = true;
		if (this.#isProbing) return;
		if (this.#patience > 0) this.#patience--;
		const usage = busy / this.#size;
		if (waiting > 0 && usage >= FULL) this.#grow(latencyMs);
		else if (waiting === 0 && usage <= IDLE) this.#rest(busyMax);
		else {
			this.#idle = 0;
			this.#peak = 0;
			this.#learn(latencyMs);
		}
	}

	#grow(latencyMs: number | undefined): void {
		this.#idle = 0;
		this.#peak = 0;
		if (latencyMs !== undefined && this.#baseMs !== undefined && latencyMs > Math.max(LATENCY_FLOOR_MS, this.#baseMs) * LATENCY_FACTOR) {
			// What was added last has only made it slower.
			this.#baseMs += (latencyMs - this.#baseMs) * BASE_FADE;
			if (this.#patience > 0) return;
			this.#patience = PATIENCE_SAMPLES;
			this.#size = Math.max(this.#min, Math.floor(this.#size / GROWTH));
			return;
		}
		this.#learn(latencyMs);
		if (this.#patience > 0) return;
		this.#size = Math.min(this.#max, Math.max(this.#size + 1, Math.floor(this.#size * GROWTH)));
	}

	#rest(busyMax: number): void {
		this.#idle++;
		this.#peak = Math.max(this.#peak, busyMax);
		if (this.#idle < IDLE_SAMPLES) return;
		// Room above the most that was needed, or the next sample would grow it again.
		this.#size = Math.min(this.#size, Math.max(this.#min, Math.ceil(this.#peak / FULL) + 1));
		this.#idle = 0;
		this.#peak = 0;
	}

	#learn(latencyMs: number | undefined): void {
		if (latencyMs === undefined) return;
		if (this.#baseMs === undefined || latencyMs < this.#baseMs) this.#baseMs = latencyMs;
		else this.#baseMs += (latencyMs - this.#baseMs) * BASE_FADE;
	}
}
