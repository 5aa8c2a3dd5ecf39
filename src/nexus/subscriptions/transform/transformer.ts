/** Runs transforms with a limit on their time, memory and result. A transform that runs into one is told why; the next one runs in a new thread. */
import { Worker } from "node:worker_threads";
import type { Clock } from "../../../core/clock.ts";
import { messageOf } from "../../../core/errors.ts";
import { RingQueue } from "../../../core/ring-queue.ts";
import { validateEvent } from "../../../events/cloud-event.ts";
import { ANSWER_CHARS_MAX, TRANSFORM_BYTES_MAX, TRANSFORM_HEAP_MB, TRANSFORM_MS_MAX, TRANSFORM_WAITING_MAX } from "../limits.ts";
import type { TransformAnswer, TransformJob } from "./transform-thread.ts";

/** `failed`: it will fail again. `busy`: too many wait, or the thread could not be had. */
export type Transformed =
	| { readonly ok: true; readonly json: Buffer }
	| { readonly ok: false; readonly failure: "failed" | "busy"; readonly reason: string };

interface Waiting extends TransformJob {
	readonly settle: (answer: TransformAnswer | "busy") => void;
}

export class Transformer {
	readonly #clock: Clock;
	readonly #waiting = new RingQueue<Waiting>(TRANSFORM_WAITING_MAX);
	#thread: Worker | undefined;
	/** One at a time: who takes too long takes no other with it. */
	#running: { readonly job: Waiting; readonly cancel: () => void } | undefined;
	#isReady = false;
	#isClosed = false;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** Never rejects. */
	async transform(expression: string, json: Buffer): Promise<Transformed> {
		const { promise, resolve } = Promise.withResolvers<TransformAnswer | "busy">();
		const text = json.toString();
		if (this.#isClosed || !this.#waiting.push({ expression, json: text, settle: resolve })) return busy("too many transforms wait");
		this.#next();
		const answer = await promise;
		if (answer === "busy") return busy("the thread of transforms has ended");
		if ("error" in answer) return failed(answer.error);
		return answer.json === undefined ? failed("the transform gives nothing") : merged(text, answer.json);
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#end("busy");
		for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) job.settle("busy");
		await this.#thread?.terminate();
	}

	#next(): void {
		if (this.#thread === undefined) this.#start();
		if (!this.#isReady || this.#running !== undefined) return;
		const job = this.#waiting.shift();
		if (job === undefined) return;
		const timer = this.#clock.setTimer(TRANSFORM_MS_MAX, () => this.#give({ error: `the transform took more than ${TRANSFORM_MS_MAX} ms` }));
		this.#running = { job, cancel: () => timer.cancel() };
		this.#thread?.postMessage({ expression: job.expression, json: job.json } satisfies TransformJob);
	}

	#start(): void {
		const thread = new Worker(new URL("./transform-thread.ts", import.meta.url), {
			name: "nexus-transform",
			resourceLimits: { maxOldGenerationSizeMb: TRANSFORM_HEAP_MB },
		});
		thread.unref();
		this.#thread = thread;
		this.#isReady = false;
		thread.on("message", (message: TransformAnswer | "ready") => {
			if (this.#thread !== thread) return;
			if (message === "ready") this.#isReady = true;
			else this.#end(message);
			this.#next();
		});
		thread.on("error", (thrown) => {
			if (this.#thread === thread) this.#give({ error: `the transform ended its thread: ${messageOf(thrown)}` });
		});
		thread.on("exit", () => {
			if (this.#thread === thread) this.#give("busy");
		});
	}

	/** The running job is over, and its thread with it. */
	#give(answer: TransformAnswer | "busy"): void {
		const thread = this.#thread;
		this.#thread = undefined;
		this.#isReady = false;
		void thread?.terminate();
		this.#end(answer);
		if (!this.#isClosed && this.#waiting.size > 0) this.#next();
	}

	#end(answer: TransformAnswer | "busy"): void {
		this.#running?.cancel();
		this.#running?.job.settle(answer);
		this.#running = undefined;
	}
}

/** The members that the transform gives replace those of the event; what comes out must be an event again. */
function merged(original: string, json: string): Transformed {
	const given: unknown = JSON.parse(json);
	if (typeof given !== "object" || given === null || Array.isArray(given)) return failed("the transform does not give an object");
	const event = JSON.parse(original) as Record<string, unknown>;
	// Both together are no event, and who gives one means the other to go.
	if ("data" in given) delete event.data_base64;
	if ("data_base64" in given) delete event.data;
	const verdict = validateEvent({ ...event, ...given });
	if (!verdict.ok) return failed(`the transform does not give an event: ${verdict.reason}`);
	const bytes = Buffer.from(JSON.stringify(verdict.event));
	return bytes.length > TRANSFORM_BYTES_MAX ? failed(`the transform gives more than ${TRANSFORM_BYTES_MAX} bytes`) : { ok: true, json: bytes };
}

function failed(reason: string): Transformed {
	return { ok: false, failure: "failed", reason: reason.slice(0, ANSWER_CHARS_MAX) };
}

function busy(reason: string): Transformed {
	return { ok: false, failure: "busy", reason };
}
