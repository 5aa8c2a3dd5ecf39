/**
 * Carries the spool to Nexus: one batch at a time, in order, until Nexus says that it has it. Whatever Nexus does, the
 * data plane notices nothing: it never waits here, and memory ends at the bounds of the spool.
 */
import type CircuitBreaker from "opossum";
import type { Clock, Timer } from "../../core/clock.ts";
import { assertNever } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { CloudEvent } from "../../events/cloud-event.ts";
import type { EventSpool, SpooledEvent } from "./event-spool.ts";
import { NexusClient, type NexusClientOptions, type PostVerdict } from "./nexus-client.ts";

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

// Nexus commits a batch with one fdatasync; beyond 64 events the cost per event hardly falls (DESIGN 8).
const BATCH_EVENTS_MAX = 64;
const BATCH_BYTES_MAX = 512 * 1024;
// What happens together travels together; to a person it is still at once.
const LINGER_MS = 50;
const BACKOFF_BASE_MS = 100;
const BACKOFF_MAX_MS = 10_000;
// Five failures in a minute, half of the tries: then the network is left alone but for one probe at a time.
const BREAKER_VOLUME = 5;
const BREAKER_WINDOW_MS = 60_000;
const BREAKER_OPEN_MS = 5000;

/** A batch on its way, or what is left of it. */
type Pending = readonly SpooledEvent[];

type Attempt = PostVerdict | { readonly kind: "skipped" };

export class EventDelivery {
	readonly #options: EventDeliveryOptions;
	#client: NexusClient;
	#url: string;
	readonly #abort = new AbortController();
	#breaker: CircuitBreaker<[readonly string[]], PostVerdict> | undefined;
	#pending: Pending = [];
	/** How many of `#pending` go at once; halved where Nexus finds the batch too large. */
	#chunk = BATCH_EVENTS_MAX;
	#failures = 0;
	#inTrouble = false;
	#linger: Timer | undefined;
	#running: Promise<void> | undefined;
	#wake: (() => void) | undefined;
	#closing: Promise<void> | undefined;
	/** Events that Nexus has acknowledged. */
	sent = 0;
	/** Events lost here since the start, by cause; see also `EventSpool.dropped`. */
	readonly dropped = { rejected: 0, refused: 0, tooLarge: 0, undelivered: 0 };
	/** Tries since the start, by result. */
	readonly deliveries = { delivered: 0, refused: 0, busy: 0, failed: 0, skipped: 0 };

	/** Throws where the URL is none. Connects only when there is something to say. */
	constructor(options: EventDeliveryOptions) {
		this.#options = options;
		this.#url = options.url;
		this.#client = new NexusClient(options);
	}

	/** Events that left the spool and are not acknowledged. */
	get pendingEvents(): number {
		return this.#pending.length;
	}

	/** Of those events as JSON. */
	get pendingBytes(): number {
		return this.#pending.reduce((sum, event) => sum + event.bytes, 0);
	}

	get breakerOpen(): boolean {
		return this.#breaker !== undefined && !this.#breaker.closed;
	}

	/** Takes an event for delivery. Returns at once. */
	offer(event: CloudEvent): void {
		const { spool } = this.#options;
		spool.push(event);
		if (this.#running !== undefined || this.#closing !== undefined) return;
		if (spool.size >= BATCH_EVENTS_MAX) this.#start();
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

	/** Delivers what it can within `timeoutMs`, counts the rest as lost, and ends. Idempotent. */
	close(timeoutMs: number): Promise<void> {
		this.#closing ??= this.#close(timeoutMs);
		return this.#closing;
	}

	async #close(timeoutMs: number): Promise<void> {
		const { spool, clock, log } = this.#options;
		const timer = clock.setTimer(timeoutMs, () => {
			this.#abort.abort(new Error("the sidecar ends"));
			this.#wake?.();
		});
		this.#failures = 0;
		this.#start();
		this.#wake?.();
		await this.#running;
		timer.cancel();
		const left = this.#pending.length + spool.size;
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
			if (this.#options.spool.size > 0 && this.#closing === undefined) this.#startSoon();
		});
	}

	#startSoon(): void {
		this.#linger ??= this.#options.clock.setTimer(LINGER_MS, () => this.#start());
	}

	async #run(): Promise<void> {
		while (!this.#abort.signal.aborted && this.#fill()) {
			const chunk = this.#pending.slice(0, this.#chunk);
			const attempt = await this.#attempt(chunk.map((event) => event.json));
			await this.#settle(chunk, attempt);
		}
	}

	/** False where there is nothing to send. */
	#fill(): boolean {
		if (this.#pending.length > 0) return true;
		this.#chunk = BATCH_EVENTS_MAX;
		this.#pending = this.#options.spool.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX);
		return this.#pending.length > 0;
	}

	async #attempt(batch: readonly string[]): Promise<Attempt> {
		// At the end there is no later for which the breaker could save its strength.
		if (this.#closing !== undefined) return this.#client.post(batch, this.#abort.signal);
		this.#breaker ??= await this.#createBreaker();
		try {
			return await this.#breaker.fire(batch);
		} catch (thrown) {
			return thrown instanceof PostFailure ? thrown.verdict : { kind: "skipped" };
		}
	}

	/** Does what the verdict asks for; waits where it asks for patience. */
	async #settle(chunk: Pending, attempt: Attempt): Promise<void> {
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
				this.#chunk = Math.ceil(chunk.length / 2);
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

	#forget(chunk: Pending): void {
		this.#pending = this.#pending.slice(chunk.length);
		this.#failures = 0;
	}

	/** Full jitter (Brooker, "Exponential Backoff And Jitter"): a mesh that lost its Nexus does not come back as one. */
	#backoffMs(): number {
		const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** this.#failures++);
		return this.#options.rng() * ceiling;
	}

	#pause(delayMs: number): Promise<void> {
		if (this.#abort.signal.aborted) return Promise.resolve();
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
		if (breaker === undefined || !breaker.opened) return Promise.resolve();
		return new Promise((resolve) => {
			breaker.once("halfOpen", () => resolve());
			this.#wake = resolve;
		});
	}

	async #createBreaker(): Promise<CircuitBreaker<[readonly string[]], PostVerdict>> {
		const { default: Breaker } = await import("opossum");
		const post = async (batch: readonly string[]): Promise<PostVerdict> => {
			const verdict = await this.#client.post(batch, this.#abort.signal);
			if (verdict.kind === "failed") throw new PostFailure(verdict);
			return verdict;
		};
		// A fleet that broke together probes apart: between half of the time and one and a half.
		const resetTimeout = (this.#options.breakerOpenMs ?? BREAKER_OPEN_MS) * (0.5 + this.#options.rng());
		return new Breaker(post, {
			timeout: false,
			volumeThreshold: BREAKER_VOLUME,
			errorThresholdPercentage: 50,
			rollingCountTimeout: BREAKER_WINDOW_MS,
			resetTimeout,
			rollingPercentilesEnabled: false,
			enableSnapshots: false,
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
		this.#options.log.info("events are delivered again", { waiting: this.#options.spool.size });
	}
}

/** Makes a failed post a rejection, which is what opossum counts. */
class PostFailure extends Error {
	readonly verdict: PostVerdict;

	constructor(verdict: PostVerdict & { kind: "failed" }) {
		super(verdict.message);
		this.verdict = verdict;
	}
}
