/** The loop of a consumer: hands the events of a subscription to a handler, answers for each, and goes on through breaks until it is told to stop. */
import { messageOf } from "../core/errors.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import { AnswerBatcher } from "./answer-batcher.ts";
import { type ConsumerLink, type ConsumerTarget, type LinkHost, openPollLink, openSocketLink } from "./consumer-links.ts";
import { type Delivery, HeldDelivery } from "./held-delivery.ts";
import { NexusError } from "./nexus-error.ts";
import { backoffMs, retryAfterOf, wait, withRetry } from "./retry.ts";
import type { AnswerReport, Answers, TakenEvent } from "./subscription-shapes.ts";

/**
 * Done with the event when it returns or resolves, unless it has answered for it by itself. What it throws makes the event come again, after the backoff
 * of the subscription; with the last attempt it becomes a dead letter. At least once: an event may come a second time.
 */
export type Handler<Data = unknown> = (event: CloudEvent<Data>, delivery: Delivery<Data>) => unknown;

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

const ABORTED = Symbol("aborted");
const CONCURRENCY = 16;
const DRAIN_MS = 10_000;
/** A connection that has lasted for so long was a good one. */
const STEADY_MS = 10_000;
/** Messages of answers that wait to be written down, which takes Nexus a disk write; what comes meanwhile waits and goes together. */
const ANSWERS_IN_FLIGHT = 256;
/** Each on a connection of its own. */
const POSTS_IN_FLIGHT = 8;
/** For a Nexus that is away: an acknowledgement that comes late counts, over whichever connection. */
const ANSWER_PATIENCE_MS = 30_000;
/** The most that a window holds. */
const CONCURRENCY_MAX = 1000;

/** Resolves once it has stopped. Rejects with the NexusError of a refusal that time does not mend: no such subscription, no right to it, not one to pull from. */
export async function consume(target: ConsumerTarget, handler: Handler, options: ConsumeOptions): Promise<void> {
	const { concurrency = CONCURRENCY } = options;
	if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
		throw new RangeError(`concurrency ${concurrency} is not a whole number from 1 to ${CONCURRENCY_MAX}`);
	}
	await new Consumer(target, handler, options).run();
}

class Consumer implements LinkHost {
	readonly credit: number;
	readonly #target: ConsumerTarget;
	readonly #handler: Handler;
	readonly #options: ConsumeOptions;
	readonly #signal: AbortSignal;
	/** By sequence. */
	readonly #flying = new Map<number, HeldDelivery>();
	/** Has come, and waits for a handler: those of a connection that broke may still be at work when the next one brings its first events. */
	#waiting: HeldDelivery[] = [];
	#link: ConsumerLink | undefined;
	/** Over the link there is, and else over HTTP. */
	readonly #answers: AnswerBatcher;
	#onRoom: (() => void) | undefined;
	#isStopping = false;
	/** No more patience with answers. */
	readonly #enough = new AbortController();

	constructor(target: ConsumerTarget, handler: Handler, options: ConsumeOptions) {
		this.#target = target;
		this.#handler = handler;
		this.#options = options;
		this.#signal = options.signal ?? new AbortController().signal;
		this.credit = options.concurrency ?? CONCURRENCY;
		this.#answers = new AnswerBatcher((answers) => this.#answer(answers), options.over === "poll" ? POSTS_IN_FLIGHT : ANSWERS_IN_FLIGHT);
	}

	async run(): Promise<void> {
		const ticking = this.#tellProgress();
		try {
			await this.#connectOn();
		} finally {
			this.#isStopping = true;
			this.#link?.stop();
			this.#giveBack();
			this.#onRoom?.();
			await this.#drain();
			this.#enough.abort(new Error("the consumer has stopped"));
			ticking.end();
			this.#link?.close();
		}
	}

	async room(): Promise<number> {
		while (this.#flying.size >= this.credit && !this.#isStopping) await new Promise<void>((resolve) => (this.#onRoom = resolve));
		return Math.max(1, this.credit - this.#flying.size);
	}

	take(events: readonly TakenEvent[]): void {
		for (const event of events) {
			// Of a connection that broke, and still at work: this try is the same work.
			const same = this.#flying.get(event.sequence);
			if (same?.isOpen === true) same.renew(event);
			else this.#waiting.push(new HeldDelivery(event, this.#answers));
		}
		if (this.#isStopping) this.#giveBack();
		else this.#begin();
	}

	/** Somebody else may have at once what nobody has begun here. */
	#giveBack(): void {
		for (const { token } of this.#waiting.splice(0)) void this.#answers.add({ kind: "nak", token, delay: "0ms", reason: "the consumer stops" });
	}

	async #answer(answers: Answers): Promise<AnswerReport> {
		try {
			if (this.#link?.answer !== undefined) return await this.#link.answer(answers);
		} catch (thrown) {
			if (isRefusal(thrown)) throw thrown;
		}
		const { name, subscriptions, clock, rng } = this.#target;
		return withRetry(() => subscriptions.answer(name, answers), { clock, rng, patienceMs: ANSWER_PATIENCE_MS, signal: this.#enough.signal });
	}

	/** From one connection to the next one, until it is aborted. */
	async #connectOn(): Promise<void> {
		const { onBreak, onReconnect } = this.#options;
		const { clock, rng } = this.#target;
		let wasConnected = false;
		for (let tries = 0; !this.#signal.aborted; tries++) {
			const beganAtMs = clock.monotonicMs();
			const cause = await this.#connectOnce(() => {
				if (wasConnected) onReconnect?.();
				wasConnected = true;
			});
			if (cause === ABORTED) return;
			// What it held comes again; a handler that has begun may finish.
			this.#waiting = [];
			if (isRefusal(cause)) throw cause;
			if (clock.monotonicMs() - beganAtMs > STEADY_MS) tries = 0;
			const waitMs = Math.max(retryAfterOf(cause), backoffMs(tries, rng));
			onBreak?.(messageOf(cause), waitMs);
			await wait(waitMs, clock, this.#signal).catch(() => {}); // aborted
		}
	}

	/** Resolves with why it is over. */
	async #connectOnce(onOpen: () => void): Promise<unknown> {
		const opening = this.#options.over === "poll" ? openPollLink(this.#target, this) : openSocketLink(this.#target, this);
		try {
			const link = await orAborted(opening, this.#signal);
			if (link === ABORTED) {
				opening.then(
					(late) => late.close(),
					() => {},
				);
				return link;
			}
			this.#link = link;
			onOpen();
			const cause = await orAborted(link.ended, this.#signal);
			if (cause !== ABORTED) this.#link = undefined;
			return cause;
		} catch (thrown) {
			return thrown;
		}
	}

	#begin(): void {
		while (this.#flying.size < this.credit) {
			// Another try of an event waits until the one before has ended.
			const at = this.#waiting.findIndex(({ sequence }) => !this.#flying.has(sequence));
			const [next] = at < 0 ? [] : this.#waiting.splice(at, 1);
			if (next === undefined) return;
			this.#flying.set(next.sequence, next);
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
			this.#flying.delete(delivery.sequence);
			if (!this.#isStopping) this.#begin();
			this.#onRoom?.();
		}
	}

	/** Handlers first, then their answers, both within one limit. */
	async #drain(): Promise<void> {
		const drained = new AbortController();
		const timeUp = wait(this.#options.drainMs ?? DRAIN_MS, this.#target.clock, drained.signal).catch(() => {});
		const done = async (): Promise<void> => {
			while (this.#flying.size > 0) await new Promise<void>((resolve) => (this.#onRoom = resolve));
			await this.#answers.idle();
		};
		await Promise.race([done(), timeUp]);
		drained.abort();
	}

	#tellProgress(): { end(): void } {
		const { progressEveryMs } = this.#options;
		if (progressEveryMs === undefined) return { end() {} };
		const { clock } = this.#target;
		const tell = (): void => {
			for (const delivery of this.#flying.values()) void delivery.inProgress();
			timer = clock.setTimer(progressEveryMs, tell);
		};
		let timer = clock.setTimer(progressEveryMs, tell);
		return { end: () => timer.cancel() };
	}
}

/** One that time does not mend. A subscription that is paused goes on some day. */
function isRefusal(cause: unknown): boolean {
	return !(cause instanceof NexusError) || (!cause.isTransient && cause.reason !== "paused");
}

/** What comes first. Nothing of it stays with the signal, which may live for longer than many connections. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | typeof ABORTED> {
	if (signal.aborted) return Promise.resolve(ABORTED);
	return new Promise((resolve, reject) => {
		const end = (): void => resolve(ABORTED);
		signal.addEventListener("abort", end, { once: true });
		work.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
	});
}
