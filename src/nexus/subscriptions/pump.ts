/** Pushes what a dispatcher has to a sink, as many at a time as its pool allows; on stop it waits for what is under way. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Entry, Sink, Verdict } from "./delivery.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { PoolSize } from "./pool-size.ts";

const SAMPLE_MS = 1000;

export class Pump {
	readonly pool: PoolSize;
	readonly #dispatcher: Dispatcher;
	readonly #sink: Sink;
	readonly #clock: Clock;
	readonly #flying = new Set<AbortController>();
	#later: Timer | undefined;
	#sampler: Timer | undefined;
	#isAsking = false;
	#isStopping = false;
	#onDrained: (() => void) | undefined;
	/** Of the last try that failed, for people. */
	lastFailure = "";
	// Since the last sample.
	#busyMsSum = 0;
	#busySinceMs = 0;
	#busyMax = 0;
	#sampledAtMs: number;
	#acked = 0;
	#failed = 0;
	#latencyMsSum = 0;

	constructor(dispatcher: Dispatcher, sink: Sink, clock: Clock, concurrency: { readonly min: number; readonly max: number }) {
		this.#dispatcher = dispatcher;
		this.#sink = sink;
		this.#clock = clock;
		this.pool = new PoolSize(concurrency.min, concurrency.max);
		this.#sampledAtMs = clock.monotonicMs();
		dispatcher.onReady = () => this.#pump();
	}

	get busy(): number {
		return this.#flying.size;
	}

	get trouble(): string {
		return this.#sink.trouble;
	}

	/** Takes nothing more. Resolves once what is under way has ended; after `waitMs` it is cut, and tried again after the next start. */
	async stop(waitMs: number): Promise<void> {
		this.#isStopping = true;
		this.#later?.cancel();
		if (this.#flying.size > 0) {
			const drained = Promise.withResolvers<void>();
			this.#onDrained = drained.resolve;
			const timer = this.#clock.setTimer(waitMs, () => {
				for (const controller of this.#flying) controller.abort();
			});
			await drained.promise;
			timer.cancel();
		}
		this.#sampler?.cancel();
		await this.#sink.close();
	}

	#pump(): void {
		// Sampled only while there is something to do: an idle subscription has no timer.
		if (this.#sampler === undefined) this.#startSampling();
		while (!this.#isStopping && this.#flying.size < this.pool.size) {
			if (this.#dispatcher.readySize === 0) return;
			const readiness = this.#sink.readiness(this.#clock.monotonicMs());
			if (readiness !== 0) {
				this.#waitFor(readiness);
				return;
			}
			const entry = this.#dispatcher.take();
			if (entry === undefined) return;
			void this.#deliver(entry);
		}
	}

	async #deliver(entry: Entry): Promise<void> {
		const { attempts } = entry;
		const controller = new AbortController();
		entry.cut = () => controller.abort();
		this.#measureBusy();
		this.#flying.add(controller);
		this.#busyMax = Math.max(this.#busyMax, this.#flying.size);
		const verdict = await this.#sink.deliver(entry, controller.signal, () => void this.#dispatcher.extend(entry, attempts));
		this.#measureBusy();
		this.#flying.delete(controller);
		this.#note(verdict, this.#clock.monotonicMs() - entry.takenAtMs);
		// Cut because the subscription stops: nothing is known of the event, and its progress is kept as open.
		if (!(this.#isStopping && controller.signal.aborted)) this.#dispatcher.settle(entry, attempts, verdict);
		if (this.#isStopping && this.#flying.size === 0) this.#onDrained?.();
		this.#pump();
	}

	#note(verdict: Verdict, tookMs: number): void {
		this.#latencyMsSum += tookMs;
		if (verdict.kind === "ack") {
			this.#acked++;
			this.pool.succeeded();
		} else {
			this.#failed++;
			this.lastFailure = verdict.reason;
		}
	}

	#waitFor(readiness: number | Promise<void>): void {
		if (typeof readiness === "number") {
			this.#later ??= this.#clock.setTimer(readiness, () => {
				this.#later = undefined;
				this.#pump();
			});
		} else if (!this.#isAsking) {
			this.#isAsking = true;
			void readiness.then(() => {
				this.#isAsking = false;
				this.#pump();
			});
		}
	}

	#startSampling(): void {
		this.#sampledAtMs = this.#clock.monotonicMs();
		this.#sampler = this.#clock.setTimer(SAMPLE_MS, () => this.#sample());
	}

	#measureBusy(): void {
		const nowMs = this.#clock.monotonicMs();
		if (this.#flying.size > 0) this.#busyMsSum += this.#flying.size * (nowMs - this.#busySinceMs);
		this.#busySinceMs = nowMs;
	}

	#sample(): void {
		this.#measureBusy();
		const nowMs = this.#clock.monotonicMs();
		const ended = this.#acked + this.#failed;
		this.pool.sample({
			busy: this.#busyMsSum / (nowMs - this.#sampledAtMs),
			busyMax: this.#busyMax,
			waiting: this.#dispatcher.readySize,
			acked: this.#acked,
			failed: this.#failed,
			latencyMs: ended === 0 ? undefined : this.#latencyMsSum / ended,
		});
		this.#sampledAtMs = nowMs;
		this.#busyMsSum = 0;
		this.#busyMax = this.#flying.size;
		this.#acked = 0;
		this.#failed = 0;
		this.#latencyMsSum = 0;
		const isOver = this.#flying.size === 0 && this.#dispatcher.readySize === 0 && this.pool.isAtRest;
		this.#sampler = isOver || this.#isStopping ? undefined : this.#clock.setTimer(SAMPLE_MS, () => this.#sample());
		if (this.#dispatcher.readySize > 0) this.#pump();
	}
}
