/** Stands before the exporter and counts: how many spans wait for the collector, and how many it never got. */
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";

export interface DeliveryOptions {
	readonly exporter: SpanExporter;
	readonly clock: Clock;
	readonly log: Logger;
	/** For the log. */
	readonly url: string;
	/** A batch that has no answer by then is given up. */
	readonly timeoutMs: number;
	/** Spans that wait at a time. */
	readonly waitingMax: number;
}

type Done = Parameters<SpanExporter["export"]>[1];

// ExportResultCode of @opentelemetry/core, which is not loaded unless tracing is on.
const SUCCESS = 0;
const FAILED = 1;

export class SpanDelivery implements SpanExporter {
	readonly #options: DeliveryOptions;
	#ended = 0;
	#delivered = 0;
	#dropped = 0;
	#failing = false;
	#closed = false;
	/** Of each batch on its way: how to give it up. */
	readonly #underWay = new Set<(error: Error) => void>();

	constructor(options: DeliveryOptions) {
		this.#options = options;
	}

	get ended(): number {
		return this.#ended;
	}

	get dropped(): number {
		return this.#dropped;
	}

	/** Ended, and neither delivered nor given up. */
	get waiting(): number {
		return this.#ended - this.#delivered - this.#dropped;
	}

	/** Whether there is no room for a further span. */
	get isFull(): boolean {
		return this.#closed || this.waiting >= this.#options.waitingMax;
	}

	/** One more span is over. False: it is dropped, and must not go to the SDK, which would not tell us what becomes of it. */
	admit(): boolean {
		const isFull = this.isFull;
		this.#ended++;
		if (isFull) this.#dropped++;
		return !isFull;
	}

	export(spans: ReadableSpan[], done: Done): void {
		const { exporter, clock, timeoutMs } = this.#options;
		let settled = false;
		const settle = (error: Error | undefined): void => {
			if (settled) return;
			settled = true;
			timer.cancel();
			this.#underWay.delete(settle);
			this.#settled(spans.length, error);
			done(error === undefined ? { code: SUCCESS } : { code: FAILED, error });
		};
		const timer = clock.setTimer(timeoutMs, () => settle(new Error(`no answer within ${timeoutMs} ms`)));
		this.#underWay.add(settle);
		exporter.export(spans, ({ code, error }) => settle(code === SUCCESS ? undefined : (error ?? new Error("refused"))));
	}

	/** Takes no more. */
	close(): void {
		this.#closed = true;
	}

	/** What waits now, or is on its way, is given up. */
	abandon(): void {
		for (const giveUp of [...this.#underWay]) giveUp(new Error("the end came first"));
		this.#dropped += this.waiting;
	}

	shutdown(): Promise<void> {
		return this.#options.exporter.shutdown();
	}

	forceFlush(): Promise<void> {
		return this.#options.exporter.forceFlush?.() ?? Promise.resolve();
	}

	#settled(count: number, error: Error | undefined): void {
		const { log, url } = this.#options;
		// Given up already where an answer comes after the end.
		const counted = Math.min(count, this.waiting);
		if (error === undefined) this.#delivered += counted;
		else this.#dropped += counted;
		// Once per change, not per batch: a collector may be away for days.
		if (error !== undefined && !this.#failing)
			log.warn("spans cannot be delivered; they are dropped until they can", { url, cause: messageOf(error) });
		if (error === undefined && this.#failing) log.info("spans are delivered again", { url, dropped: this.#dropped });
		this.#failing = error !== undefined;
	}
}
