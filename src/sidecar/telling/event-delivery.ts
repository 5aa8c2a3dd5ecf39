/**
 * Carries the spool to Nexus: one batch at a time, in order, until Nexus says that it has it. Whatever Nexus does, the
 * data plane notices nothing: it never waits here, and memory ends at the bounds of the spool.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { assertNever } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import { createDeliveryBreaker, type DeliveryBreaker, PostFailure } from "./delivery-breaker.ts";
import { EventSpool, type SpooledEvent } from "./event-spool.ts";
import { NexusClient, type NexusClientOptions, type PostVerdict } from "./nexus-client.ts";
import { moveEvents } from "./spool/move-events.ts";
import { BATCH_EVENTS_MAX, PendingEvents } from "./spool/pending-events.ts";

export interface EventDeliveryOptions {
	/** Of Nexus, to begin with; see `NexusClientOptions.url`. */
	readonly url: string;
	readonly spool: EventSpool;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	readonly timeoutMs?: number;
	/** As `NexusClientOptions.identity`. */
	readonly identity?: NexusClientOptions["identity"];
	/** How long the breaker stays open, in real time: opossum keeps a clock of its own. */
	readonly breakerOpenMs?: number;
}

// What happens together travels together; to a person it is still at once.
const LINGER_MS = 50;
const BACKOFF_BASE_MS = 100;
const BACKOFF_MAX_MS = 10_000;

type Attempt = PostVerdict | { readonly kind: "skipped" };

export class EventDelivery {
	readonly #options: EventDeliveryOptions;
	#spool: EventSpool;
	/** Takes what comes in while the events move into another spool. */
	#pen: EventSpool | undefined;
	#moving: Promise<void> | undefined;
	#client: NexusClient;
	#url: string;
	readonly #abort = new AbortController();
	#breaker: DeliveryBreaker | undefined;
	readonly #pending = new PendingEvents();
	#failures = 0;
	/** The last try did not bring its batch to Nexus: meanwhile something urgent may have come. */
	#hasWaited = false;
	#inTrouble = false;
	#linger: Timer | undefined;
	#running: Promise<void> | undefined;
	#wake: (() => void) | undefined;
	#closing: Promise<void> | undefined;
	/** Events that Nexus has acknowledged. */
	sent = 0;
	/** Events lost here since the start, by cause; see also `EventSpool.losses`. */
	readonly dropped = { rejected: 0, refused: 0, tooLarge: 0, undelivered: 0 };
	/** Tries since the start, by result. */
	readonly deliveries = { delivered: 0, refused: 0, busy: 0, failed: 0, skipped: 0 };

	/** Throws where the URL is none. Connects only when there is something to say. */
	constructor(options: EventDeliveryOptions) {
		this.#options = options;
		this.#spool = options.spool;
		this.#url = options.url;
		this.#client = new NexusClient(options);
		if (this.#spool.size > 0) this.#startSoon();
	}

	/** Events that left the spool and are not acknowledged. */
	get pendingEvents(): number {
		return this.#pending.size;
	}

	/** Of those events as JSON. */
	get pendingBytes(): number {
		return this.#pending.bytes;
	}

	get breakerOpen(): boolean {
		return this.#breaker !== undefined && !this.#breaker.closed;
	}

	/** Takes an event for delivery. Returns at once. */
	offer(event: CloudEvent): void {
		if (this.#pen !== undefined) {
			this.#pen.push(event);
			return;
		}
		this.#spool.push(event);
		if (this.#running !== undefined || this.#closing !== undefined) return;
		if (this.#spool.size >= BATCH_EVENTS_MAX) this.#start();
		else this.#startSoon();
	}

	/** Sends to another Nexus from now on, beginning with what the present one has not acknowledged. Throws where the URL is none. */
	setUrl(url: string): void {
		if (url === this.#url) return;
		const old = this.#client;
		this.#client = new NexusClient({ ...this.#options, url });
		this.#url = url;
		void old.close(); // what is under way there counts as failed and is sent again
		this.#failures = 0;
		this.#breaker?.close();
		this.#wake?.();
	}

	/** Goes on with another spool, into which the events of the present one move; waits for the batch that is under way. */
	moveTo(next: EventSpool): Promise<void> {
		this.#moving = this.#move(next);
		return this.#moving;
	}

	async #move(next: EventSpool): Promise<void> {
		const pen = new EventSpool({ losses: next.losses });
		this.#pen = pen;
		this.#linger?.cancel();
		this.#linger = undefined;
		this.#wake?.();
		await this.#running;
		await moveEvents(this.#pending.giveAway(), this.#spool, next);
		this.#spool = next;
		this.#pen = undefined;
		next.receive(pen.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY));
		if (next.size > 0) this.#startSoon();
	}

	/** Delivers what it can within `timeoutMs`, counts as lost what ends with the process, and ends. Idempotent. */
	close(timeoutMs: number): Promise<void> {
		this.#closing ??= this.#close(timeoutMs);
		return this.#closing;
	}

	async #close(timeoutMs: number): Promise<void> {
		const { clock, log } = this.#options;
		const { promise: timeUp, resolve } = Promise.withResolvers<void>();
		const timer = clock.setTimer(timeoutMs, () => {
			this.#abort.abort(new Error("the sidecar ends"));
			this.#wake?.();
			resolve();
		});
		if (this.#moving !== undefined) await Promise.race([this.#moving, timeUp]);
		this.#failures = 0;
		this.#start();
		this.#wake?.();
		await this.#running;
		timer.cancel();
		const { directory } = this.#spool;
		const left = directory === undefined ? this.#pending.size + this.#spool.size : directory.faulty ? directory.unwrittenEvents : 0;
		this.dropped.undelivered += left;
		if (left > 0) log.warn("events were not delivered before the end", { events: left });
		this.#breaker?.shutdown();
		await this.#client.close();
	}

	#start(): void {
		this.#linger?.cancel();
		this.#linger = undefined;
		this.#running ??= this.#run().finally(() => {
			this.#running = undefined;
			// Offered after the last look into the spool.
			if (this.#spool.size > 0 && this.#closing === undefined && this.#pen === undefined) this.#startSoon();
		});
	}

	#startSoon(): void {
		this.#linger ??= this.#options.clock.setTimer(LINGER_MS, () => this.#start());
	}

	async #run(): Promise<void> {
		while (!this.#isInterrupted && (await this.#fill())) {
			const chunk = this.#pending.next();
			const attempt = await this.#attempt(chunk.map((event) => event.json));
			await this.#settle(chunk, attempt);
		}
	}

	get #isInterrupted(): boolean {
		return this.#abort.signal.aborted || this.#pen !== undefined;
	}

	/** False where there is nothing to send. */
	async #fill(): Promise<boolean> {
		if (this.#pending.size > 0) {
			if (this.#hasWaited) this.#pending.letUrgentPass(this.#spool);
			return true;
		}
		if (this.#spool.needsLoad) await this.#load();
		return this.#pending.refill(this.#spool);
	}

	/** Nothing but the end cuts it short, so that two never run side by side; a disk that hangs must not hold up the end. */
	#load(): Promise<void> {
		return new Promise((resolve) => {
			this.#wake = () => {
				if (this.#abort.signal.aborted) resolve();
			};
			void this.#spool.load().then(resolve);
		});
	}

	async #attempt(batch: readonly string[]): Promise<Attempt> {
		// At the end there is no later for which the breaker could save its strength.
		if (this.#closing !== undefined) return this.#client.post(batch, this.#abort.signal);
		const { rng, breakerOpenMs } = this.#options;
		this.#breaker ??= await createDeliveryBreaker((events) => this.#client.post(events, this.#abort.signal), rng, breakerOpenMs);
		try {
			return await this.#breaker.fire(batch);
		} catch (thrown) {
			return thrown instanceof PostFailure ? thrown.verdict : { kind: "skipped" };
		}
	}

	/** Does what the verdict asks for; waits where it asks for patience. */
	async #settle(chunk: readonly SpooledEvent[], attempt: Attempt): Promise<void> {
		this.#hasWaited = attempt.kind === "busy" || attempt.kind === "failed" || attempt.kind === "skipped";
		switch (attempt.kind) {
			case "delivered":
				this.deliveries.delivered++;
				this.sent += chunk.length - attempt.rejected;
				this.dropped.rejected += attempt.rejected;
				this.#forget(chunk);
				if (attempt.rejected > 0) this.#trouble("Nexus rejected events", { events: attempt.rejected, reason: attempt.firstReason });
				else this.#recovered();
				return;
			case "refused":
				this.deliveries.refused++;
				this.dropped.refused += chunk.length;
				this.#forget(chunk);
				this.#trouble("Nexus refuses events; they are dropped", { status: attempt.status });
				return;
			case "too_large":
				this.deliveries.refused++;
				this.#pending.halve(chunk.length);
				if (chunk.length > 1) return;
				this.dropped.tooLarge++;
				this.#forget(chunk);
				return;
			case "busy":
				this.deliveries.busy++;
				return this.#pause(attempt.retryAfterMs ?? this.#backoffMs());
			case "failed":
				this.deliveries.failed++;
				this.#trouble("events cannot be delivered; they are kept while there is room", { error: attempt.message });
				return this.#pause(attempt.retryAfterMs ?? this.#backoffMs());
			case "skipped":
				this.deliveries.skipped++;
				return this.#breakerHalfOpen();
			default:
				assertNever(attempt);
		}
	}

	#forget(chunk: readonly SpooledEvent[]): void {
		this.#spool.acknowledge(chunk);
		this.#pending.forget(chunk.length);
		this.#failures = 0;
	}

	/** Full jitter (Brooker, "Exponential Backoff And Jitter"): a mesh that lost its Nexus does not come back as one. */
	#backoffMs(): number {
		const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** this.#failures++);
		return this.#options.rng() * ceiling;
	}

	#pause(delayMs: number): Promise<void> {
		if (this.#isInterrupted) return Promise.resolve();
		return new Promise((resolve) => {
			const timer = this.#options.clock.setTimer(delayMs, resolve);
			this.#wake = () => {
				timer.cancel();
				resolve();
			};
		});
	}

	#breakerHalfOpen(): Promise<void> {
		const breaker = this.#breaker;
		if (breaker === undefined || !breaker.opened || this.#isInterrupted) return Promise.resolve();
		return new Promise((resolve) => {
			breaker.once("halfOpen", () => resolve());
			this.#wake = resolve;
		});
	}

	/** Told once, until things went well in between. */
	#trouble(message: string, fields: Record<string, unknown>): void {
		if (this.#inTrouble) return;
		this.#inTrouble = true;
		this.#options.log.warn(message, { ...fields, url: this.#url });
	}

	#recovered(): void {
		if (!this.#inTrouble) return;
		this.#inTrouble = false;
		this.#options.log.info("events are delivered again", { waiting: this.#spool.size });
	}
}
