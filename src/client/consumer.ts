/** The loop of a consumer: hands the events of a subscription to a handler, answers for each, and goes on through breaks until it is told to stop. */
import { messageOf } from "../core/errors.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import type { AnswerBatcher } from "./answer-batcher.ts";
import { type ConsumerLink, type ConsumerTarget, type LinkHost, openPollLink, openSocketLink } from "./consumer-links.ts";
import { durationText } from "./json-calls.ts";
import { NexusError } from "./nexus-error.ts";
import { backoffMs, wait } from "./retry.ts";
import type { TakenEvent } from "./subscription-shapes.ts";

/**
 * Done with the event when it returns or resolves, unless it has answered for it by itself. What it throws makes the event come again, after the backoff
 * of the subscription; with the last attempt it becomes a dead letter. At least once: an event may come a second time.
 */
export type Handler = (event: CloudEvent, delivery: Delivery) => unknown;

/** One try of one event, with the answers that it may have. Each resolves with whether that is written down; the first one of ack, nak and term counts. */
export interface Delivery extends TakenEvent {
	ack(): Promise<boolean>;
	/** Again: after the delay, or after the backoff of the subscription. */
	nak(how?: { readonly delayMs?: number; readonly reason?: string }): Promise<boolean>;
	/** Never again: it becomes a dead letter. */
	term(reason?: string): Promise<boolean>;
	/** Still at it: `ackWait` begins anew. */
	inProgress(): Promise<boolean>;
}

export interface ConsumeOptions {
	/** Ends it: no further event begins, those under way are finished and answered for. */
	readonly signal?: AbortSignal;
	/** Events under way at a time, up to 1,000. Default 16. */
	readonly concurrency?: number;
	/** `socket` (default) or long polls, where a WebSocket does not pass, or where the package `ws` is not there. */
	readonly over?: "socket" | "poll";
	/** How often Nexus is told that a handler is still at it, for handlers that may take longer than `ackWait`. Default: never. */
	readonly progressEveryMs?: number;
	/** After the signal: what handlers may take to finish. Whatever is not answered for by then comes again. Default 10 s. */
	readonly drainMs?: number;
	/** Nexus is away, or the subscription is paused. */
	readonly onBreak?: (cause: string, retryInMs: number) => void;
	readonly onReconnect?: () => void;
	/** What a handler threw. */
	readonly onError?: (thrown: unknown, delivery: Delivery) => void;
}

const CONCURRENCY = 16;
const DRAIN_MS = 10_000;
/** A connection that has lasted for so long was a good one. */
const STEADY_MS = 10_000;
/** Nexus takes 1,024. */
const REASON_CHARS_MAX = 1024;

/** Resolves once it has stopped. Rejects with the NexusError of a refusal that time does not mend: no such subscription, no right to it, not one to pull from. */
export async function consume(target: ConsumerTarget, handler: Handler, options: ConsumeOptions): Promise<void> {
	await new Consumer(target, handler, options).run();
}

class Consumer implements LinkHost {
	readonly credit: number;
	readonly #target: ConsumerTarget;
	readonly #handler: Handler;
	readonly #options: ConsumeOptions;
	readonly #flying = new Set<HeldDelivery>();
	/** Has come, and waits for a handler: those of a connection that broke may still be at work when the next one brings its first events. */
	#waiting: HeldDelivery[] = [];
	#link: ConsumerLink | undefined;
	#onRoom: (() => void) | undefined;
	#isStopping = false;

	constructor(target: ConsumerTarget, handler: Handler, options: ConsumeOptions) {
		this.#target = target;
		this.#handler = handler;
		this.#options = options;
		this.credit = options.concurrency ?? CONCURRENCY;
	}

	async run(): Promise<void> {
		const stop = stopOf(this.#options.signal);
		const ticking = this.#tellProgress();
		try {
			await this.#connectOn(stop.aborted);
		} finally {
			this.#isStopping = true;
			this.#waiting = [];
			this.#link?.stop();
			this.#onRoom?.();
			await this.#drain();
			ticking.end();
			this.#link?.close();
			stop.forget();
		}
	}

	async room(): Promise<number> {
		while (this.#flying.size >= this.credit && !this.#isStopping) await new Promise<void>((resolve) => (this.#onRoom = resolve));
		return Math.max(1, this.credit - this.#flying.size);
	}

	take(events: readonly TakenEvent[], answers: AnswerBatcher): void {
		if (this.#isStopping) {
			for (const { token } of events) void answers.add({ kind: "nak", token, delay: "0ms", reason: "the consumer stops" });
			return;
		}
		for (const event of events) this.#waiting.push(new HeldDelivery(event, answers));
		this.#begin();
	}

	/** From one connection to the next one, until `aborted` resolves. */
	async #connectOn(aborted: Promise<"aborted">): Promise<void> {
		const { onBreak, onReconnect, signal } = this.#options;
		const { clock, rng } = this.#target;
		let wasConnected = false;
		for (let tries = 0; signal?.aborted !== true; tries++) {
			const beganAtMs = clock.monotonicMs();
			const cause = await this.#connectOnce(aborted, () => {
				if (wasConnected) onReconnect?.();
				wasConnected = true;
			});
			if (cause === "aborted") return;
			// What it held comes again; a handler that has begun may finish.
			this.#waiting = [];
			if (isRefusal(cause)) throw cause;
			if (clock.monotonicMs() - beganAtMs > STEADY_MS) tries = 0;
			const waitMs = Math.max(cause instanceof NexusError ? cause.retryAfterMs : 0, backoffMs(tries, rng));
			onBreak?.(messageOf(cause), waitMs);
			await Promise.race([wait(waitMs, clock, signal).catch(() => {}), aborted]);
		}
	}

	/** Resolves with why it is over. */
	async #connectOnce(aborted: Promise<"aborted">, onOpen: () => void): Promise<unknown> {
		const opening = this.#options.over === "poll" ? openPollLink(this.#target, this) : openSocketLink(this.#target, this);
		try {
			const link = await Promise.race([opening, aborted]);
			if (link === "aborted") {
				opening.then(
					(late) => late.close(),
					() => {},
				);
				return link;
			}
			this.#link = link;
			onOpen();
			return await Promise.race([link.ended, aborted]);
		} catch (thrown) {
			return thrown;
		}
	}

	#begin(): void {
		while (this.#flying.size < this.credit) {
			const next = this.#waiting.shift();
			if (next === undefined) return;
			this.#flying.add(next);
			void this.#handle(next);
		}
	}

	async #handle(delivery: HeldDelivery): Promise<void> {
		try {
			await this.#handler(delivery.event, delivery);
			void delivery.ack();
		} catch (thrown) {
			void delivery.nak({ reason: messageOf(thrown) });
			this.#options.onError?.(thrown, delivery);
		} finally {
			this.#flying.delete(delivery);
			this.#begin();
			this.#onRoom?.();
		}
	}

	/** Handlers first, then their answers, both within one limit. */
	async #drain(): Promise<void> {
		const enough = new AbortController();
		const timeUp = wait(this.#options.drainMs ?? DRAIN_MS, this.#target.clock, enough.signal).catch(() => {});
		const done = async (): Promise<void> => {
			while (this.#flying.size > 0) await new Promise<void>((resolve) => (this.#onRoom = resolve));
			await this.#link?.answers.idle();
		};
		await Promise.race([done(), timeUp]);
		enough.abort();
	}

	#tellProgress(): { end(): void } {
		const { progressEveryMs } = this.#options;
		if (progressEveryMs === undefined) return { end() {} };
		const { clock } = this.#target;
		const tell = (): void => {
			for (const delivery of this.#flying) void delivery.inProgress();
			timer = clock.setTimer(progressEveryMs, tell);
		};
		let timer = clock.setTimer(progressEveryMs, tell);
		return { end: () => timer.cancel() };
	}
}

class HeldDelivery implements Delivery {
	readonly token: string;
	readonly sequence: number;
	readonly attempt: number;
	readonly receivedAt: string;
	readonly event: CloudEvent;
	readonly #answers: AnswerBatcher;
	#answered: Promise<boolean> | undefined;

	constructor({ token, sequence, attempt, receivedAt, event }: TakenEvent, answers: AnswerBatcher) {
		this.token = token;
		this.sequence = sequence;
		this.attempt = attempt;
		this.receivedAt = receivedAt;
		this.event = event;
		this.#answers = answers;
	}

	ack(): Promise<boolean> {
		this.#answered ??= this.#answers.add({ kind: "ack", token: this.token });
		return this.#answered;
	}

	nak({ delayMs, reason }: { readonly delayMs?: number; readonly reason?: string } = {}): Promise<boolean> {
		const delay = delayMs === undefined ? {} : { delay: durationText(delayMs) };
		this.#answered ??= this.#answers.add({ kind: "nak", token: this.token, ...delay, ...reasonOf(reason) });
		return this.#answered;
	}

	term(reason?: string): Promise<boolean> {
		this.#answered ??= this.#answers.add({ kind: "term", token: this.token, ...reasonOf(reason) });
		return this.#answered;
	}

	inProgress(): Promise<boolean> {
		return this.#answered ?? this.#answers.add({ kind: "progress", token: this.token });
	}
}

function reasonOf(text: string | undefined): { readonly reason?: string } {
	return text === undefined || text === "" ? {} : { reason: text.slice(0, REASON_CHARS_MAX) };
}

/** One that time does not mend. A subscription that is paused goes on some day. */
function isRefusal(cause: unknown): boolean {
	return !(cause instanceof NexusError) || (!cause.isTransient && cause.reason !== "paused");
}

function stopOf(signal: AbortSignal | undefined): { readonly aborted: Promise<"aborted">; forget(): void } {
	let forget = (): void => {};
	const aborted = new Promise<"aborted">((resolve) => {
		const listener = (): void => resolve("aborted");
		if (signal?.aborted === true) listener();
		signal?.addEventListener("abort", listener, { once: true });
		forget = () => signal?.removeEventListener("abort", listener);
	});
	return { aborted, forget };
}
