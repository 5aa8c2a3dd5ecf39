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
/** Growth must bring at least this share of what it could have brought, or the consumer is what holds events up. */
const GAIN_MIN = 0.3;
/** Then growth is tried again after so many samples, and each time that it fails after twice as many. */
const PATIENCE_SAMPLES = 15;
const PATIENCE_SAMPLES_MAX = 240;
const SAMPLE_MS = 1000;

/** A growth whose worth is not known yet. */
interface Trial {
	readonly size: number;
	readonly acked: number;
	/** Samples until it is judged: deliveries that began before it must have ended. */
	left: number;
}

export class PoolSize {
	readonly #min: number;
	readonly #max: number;
	#size: number;
	#idle = 0;
	#peak = 0;
	#patience = 0;
	#nextPatience = PATIENCE_SAMPLES;
	#trial: Trial | undefined;
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
		if (waiting === 0 && usage <= IDLE) {
			this.#rest(busyMax);
			return;
		}
		this.#idle = 0;
		this.#peak = 0;
		if (waiting === 0) this.#trial = undefined;
		else if (usage >= FULL) this.#grow(acked, latencyMs ?? SAMPLE_MS);
	}

	#grow(acked: number, latencyMs: number): void {
		const trial = this.#trial;
		if (trial !== undefined) {
			if (--trial.left > 0) return;
			this.#trial = undefined;
			const gained = (acked / trial.acked - 1) / (this.#size / trial.size - 1);
			if (gained < GAIN_MIN) {
				// What was added has only made each delivery slower.
				this.#size = trial.size;
				this.#patience = this.#nextPatience;
				this.#nextPatience = Math.min(PATIENCE_SAMPLES_MAX, this.#nextPatience * 2);
				return;
			}
			this.#nextPatience = PATIENCE_SAMPLES;
		}
		if (this.#patience > 0 || this.#size === this.#max) return;
		this.#trial = { size: this.#size, acked: Math.max(1, acked), left: Math.ceil((2 * latencyMs) / SAMPLE_MS) };
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
}
