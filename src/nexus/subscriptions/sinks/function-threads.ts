/**
 * Handlers in threads of their own. The lease of an event is renewed from here, by the loop of Nexus, for as long as its thread lives and its
 * time is not over: a handler that computes for a minute loses nothing, and one that hangs is ended with its thread.
 */
import { Worker } from "node:worker_threads";
import type { Clock, Timer } from "../../../core/clock.ts";
import { messageOf } from "../../../core/errors.ts";
import { ACK, type Entry, type Sink, type Verdict } from "../delivery.ts";
import type { FunctionAnswer, FunctionJob, FunctionThreadData } from "./function-thread.ts";

export interface FunctionThreadsOptions {
	readonly module: string;
	readonly export?: string;
	readonly threads?: number;
	readonly timeoutMs?: number;
	readonly ackWaitMs: number;
	readonly clock: Clock;
}

const THREADS = 2;
const RESPAWN_MS = 1000;

interface Job {
	readonly settle: (verdict: Verdict) => void;
	readonly progress: () => void;
	/** Until it must be done; undefined while it stands in line for the thread. */
	timer: Timer | undefined;
}

interface Slot {
	worker: Worker | undefined;
	/** By id. */
	readonly running: Map<number, Job>;
}

export class FunctionThreads implements Sink {
	readonly #options: FunctionThreadsOptions;
	readonly #timeoutMs: number;
	readonly #slots: readonly Slot[];
	#nextId = 0;
	#heldUntilMs = 0;
	#isClosed = false;
	trouble = "";

	constructor(options: FunctionThreadsOptions) {
		this.#options = options;
		this.#timeoutMs = options.timeoutMs ?? options.ackWaitMs;
		this.#slots = Array.from({ length: options.threads ?? THREADS }, () => ({ worker: undefined, running: new Map() }));
	}

	readiness(nowMs: number): number {
		return Math.max(0, this.#heldUntilMs - nowMs);
	}

	async deliver({ json, sequence, attempts }: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict> {
		const { clock, ackWaitMs } = this.#options;
		const slot = this.#leastBusy();
		const id = this.#nextId++;
		const { promise, resolve } = Promise.withResolvers<Verdict>();
		const job: Job = { settle: resolve, progress, timer: undefined };
		// Nobody has the thread: its module is to be loaded in this time as well.
		if (slot.running.size === 0) this.#time(slot, job);
		slot.running.set(id, job);
		// Twice per lease: one renewal may be late.
		const renew = (): void => {
			if (job.timer === undefined || this.#timeoutMs > ackWaitMs) progress();
			renewal = clock.setTimer(ackWaitMs / 2, renew);
		};
		let renewal = clock.setTimer(ackWaitMs / 2, renew);
		const onAbort = (): void => this.#endLate(slot);
		signal.addEventListener("abort", onAbort);
		this.#worker(slot).postMessage({ id, json: json.toString(), sequence, attempt: attempts } satisfies FunctionJob);
		const verdict = await promise;
		job.timer?.cancel();
		renewal.cancel();
		signal.removeEventListener("abort", onAbort);
		return verdict;
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		await Promise.all(this.#slots.map(({ worker }) => worker?.terminate()));
	}

	#leastBusy(): Slot {
		return this.#slots.reduce((best, slot) => (slot.running.size < best.running.size ? slot : best));
	}

	#worker(slot: Slot): Worker {
		if (slot.worker !== undefined) return slot.worker;
		const { module, export: name = "handler" } = this.#options;
		const worker = new Worker(new URL("./function-thread.ts", import.meta.url), {
			name: "nexus-function",
			workerData: { module, name } satisfies FunctionThreadData,
		});
		worker.unref();
		slot.worker = worker;
		worker.on("message", (answer: FunctionAnswer) => {
			const job = slot.running.get(answer.id);
			if (job === undefined) return;
			if (answer.kind === "begun") {
				this.#turn(slot, job);
				return;
			}
			this.trouble = "";
			slot.running.delete(answer.id);
			job.settle(answer.verdict ?? ACK);
			const [next] = slot.running.values();
			// Also before it says that it has begun: what the last one left behind in the thread may hang.
			if (next !== undefined && next.timer === undefined) this.#turn(slot, next);
		});
		worker.on("error", (thrown) => {
			if (slot.worker === worker) this.#end(slot, `the thread of the handler ended: ${messageOf(thrown)}`);
		});
		worker.on("exit", () => {
			if (slot.worker === worker) this.#end(slot, "the thread of the handler has ended");
		});
		return worker;
	}

	/** It has the thread now, with all of its time and its lease. */
	#turn(slot: Slot, job: Job): void {
		if (job.timer === undefined) job.progress();
		this.#time(slot, job);
	}

	#time(slot: Slot, job: Job): void {
		job.timer?.cancel();
		job.timer = this.#options.clock.setTimer(this.#timeoutMs, () => this.#endLate(slot));
	}

	#endLate(slot: Slot): void {
		this.#end(slot, `the handler took longer than ${this.#timeoutMs} ms`);
	}

	/** With its thread go all that it had in hand. */
	#end(slot: Slot, reason: string): void {
		const { worker } = slot;
		slot.worker = undefined;
		void worker?.terminate();
		if (!this.#isClosed) {
			this.trouble = reason;
			this.#heldUntilMs = this.#options.clock.monotonicMs() + RESPAWN_MS;
		}
		const failed = [...slot.running.values()];
		slot.running.clear();
		for (const { settle } of failed) settle({ kind: "nak", reason });
	}
}
