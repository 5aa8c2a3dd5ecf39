/**
 * The deliveries of one subscription (or of one member of a broadcast): a bounded window of events, each tried until it is acknowledged or
 * parked. Knows neither where events come from nor where they go; it is fed, and taken from.
 */
import type { Clock } from "../../core/clock.ts";
import { DueQueue } from "../../core/due-queue.ts";
import type { Rng } from "../../core/rng.ts";
import type { StoredEvent } from "../log/event-log.ts";
import { ACK, type Entry, type Failure, type Nak, type ReplayOutcome, type Verdict } from "./delivery.ts";
import { backoffMs, type DeliveryPolicy } from "./delivery-policy.ts";
import { DispatchCounts } from "./dispatch-counts.ts";
import { Flights } from "./flights.ts";
import { Letters } from "./letters.ts";
import { DELAY_MS_MAX, SAVE_RETRY_MS } from "./limits.ts";
import { Pace } from "./pace.ts";
import { encodeProgress, type OpenEvent, type ProgressText } from "./progress.ts";
import { ProgressSaver } from "./progress-saver.ts";
import type { ReadyQueue } from "./ready-queue.ts";
import { type EventMarks, Window } from "./window.ts";
import type { WindowBudget } from "./window-budget.ts";

export interface DispatcherOptions {
	readonly policy: DeliveryPolicy;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly ready: ReadyQueue;
	/** Whether that queue keeps keys in order. */
	readonly isKeyed: boolean;
	readonly budget: WindowBudget;
	/** See progress.ts. */
	readonly life: number;
	readonly position: number;
	/** True once it is kept. */
	readonly save: (progress: ProgressText) => Promise<boolean>;
	/** See letters.ts. */
	readonly park: (entry: Entry, failure: Failure) => Promise<boolean>;
	readonly unpark: (entry: Entry) => Promise<boolean>;
	/** False once another node delivers; it never turns true again. Default: true. */
	readonly mayAct?: () => boolean;
}

/** Sequences up to this one have been looked at. */
export interface Live {
	readonly position: number;
}

/** Far below what a DueQueue takes. */
const LATE_MAX = 10_000;
const TIMED_OUT: Nak = Object.freeze({ kind: "nak", reason: "there was no answer in time" });

//            offer, restore, replay          take                     ack
//   (log) ------------------------> ready ---------> flying --------------------> (gone)
//                                     ^                | nak, no answer in time     ^
//                                     |   due          v                            | kept as a dead letter
//                                     +----------- waiting     last try, term --> parking

export class Dispatcher {
	readonly counts = new DispatchCounts();
	readonly #options: DispatcherOptions;
	readonly #policy: DeliveryPolicy;
	readonly #window: Window;
	readonly #flights: Flights;
	readonly #waiting: DueQueue<Entry>;
	readonly #letters: Letters;
	readonly #pace: Pace;
	readonly #saver: ProgressSaver;
	#position: number;
	#savedPosition: number;
	#live: Live | undefined;
	#late = 0;
	#isRunning = false;
	#isTelling = false;
	/** Something can be taken. */
	onReady: () => void = () => {};
	/** There is room again. */
	onRoom: () => void = () => {};

	constructor(options: DispatcherOptions) {
		const { clock, policy, budget, position, park, unpark } = options;
		this.#options = options;
		this.#policy = policy;
		this.#position = position;
		this.#savedPosition = position;
		this.#window = new Window(policy.window, budget);
		this.#flights = new Flights(clock, policy.ackWaitMs, (entry, attempt) => this.#timedOut(entry, attempt));
		this.#waiting = new DueQueue(clock, (entry, attempt) => this.#due(entry, attempt));
		this.#letters = new Letters({
			park,
			unpark,
			kept: (entry) => this.#parked(entry),
			notKept: (entry) => this.#waiting.push(entry, entry.attempts, SAVE_RETRY_MS),
			removed: (entry, isGone) => this.#leave(entry, isGone ? "recovered" : "failed"),
		});
		this.#pace = new Pace(clock, policy.rate, () => this.#tell());
		this.#saver = new ProgressSaver(clock, () => this.#save());
	}

	// --- fed

	/** All up to here was looked at, and stands in the window where it is not settled. */
	get position(): number {
		return this.#live === undefined ? this.#position : Math.max(this.#position, this.#live.position);
	}

	/** Undefined: it reads on its own again. */
	set live(live: Live | undefined) {
		this.#position = this.position;
		this.#live = live;
	}

	get isLive(): boolean {
		return this.#live !== undefined;
	}

	get room(): number {
		return this.#window.room;
	}

	/** False where there is no room: the event is to be offered again later. */
	offer(event: StoredEvent, marks: EventMarks): boolean {
		if (event.sequence <= this.#position) return true;
		if (!this.#window.admits(event.json.length)) return false;
		this.#position = event.sequence;
		this.#enter(event, marks, 0, 0, undefined);
		this.#saver.touch();
		return true;
	}

	/** Nothing up to `position` was for this subscription. */
	advance(position: number): void {
		if (position > this.#position) this.#position = position;
	}

	/** An event that was open, as written down at `atMs`, when the process before this one ended: so may its last try have, by no fault of its own. */
	restore(event: StoredEvent, marks: EventMarks, { attempts, waitMs: waitThenMs }: OpenEvent, atMs: number): void {
		const { clock } = this.#options;
		// The clock that wrote it may have been ahead of this one: time has not gone back since.
		const waitMs = Math.min(DELAY_MS_MAX, waitThenMs - Math.max(0, clock.wallMs() - atMs));
		this.#window.mustAdmit(event.json.length);
		this.#enter(event, marks, Math.min(attempts, this.#policy.attempts - 1), waitMs > 0 ? clock.monotonicMs() + waitMs : 0, undefined);
	}

	/** Tries a dead letter once, before live events. */
	replay(event: StoredEvent, marks: EventMarks, attempts: number): Promise<ReplayOutcome> {
		if (!this.#isRunning || !this.#window.admitsReplay(event.sequence)) return Promise.resolve("gone");
		const { promise, resolve } = Promise.withResolvers<ReplayOutcome>();
		this.#window.mustAdmit(event.json.length);
		this.#enter(event, marks, attempts, 0, resolve);
		return promise;
	}

	// --- taken from

	/** Entries that could be taken now, were it for their order alone. */
	get readySize(): number {
		return this.#options.ready.size;
	}

	get flyingSize(): number {
		return this.#flights.size;
	}

	get openSize(): number {
		return this.#window.size;
	}

	/** The next event, whose try begins now; undefined where there is none, or the rate forbids it (`onReady` calls later). */
	take(): Entry | undefined {
		if (!this.#isRunning || this.#options.ready.size === 0 || this.#options.mayAct?.() === false) return undefined;
		const nowMs = this.#options.clock.monotonicMs();
		if (!this.#pace.mayTake(nowMs)) return undefined;
		const entry = this.#nextReady(nowMs);
		if (entry === undefined) return undefined;
		this.#pace.taken(nowMs);
		this.#fly(entry, nowMs);
		return entry;
	}

	/** `attempt`: the one that ends. False where that one is over already. */
	settle(entry: Entry, attempt: number, verdict: Verdict): boolean {
		if (!this.#flights.end(entry, attempt)) return false;
		const { over } = entry;
		entry.cut = undefined;
		entry.over = undefined;
		if (verdict.kind === "nak" && verdict.isUnsent === true && entry.replay === undefined) entry.attempts--;
		else this.counts.add(verdict.kind, this.#options.clock.monotonicMs() - entry.takenAtMs);
		if (verdict.kind === "ack") this.#finish(entry);
		else if (entry.replay !== undefined || verdict.kind === "term" || entry.attempts >= this.#policy.attempts) this.#park(entry, verdict);
		else this.#retry(entry, verdict);
		over?.();
		return true;
	}

	/**
	 * An acknowledgement of any try, also of one that is over: who has done the work has done it. Only where keys are kept in order the
	 * try under way decides, since the next event of the key must not begin beside it. A crash may have forgotten the last tries, so that a
	 * number can be higher than any that is known. False where nothing is open.
	 */
	acknowledge(sequence: number, attempt: number): boolean {
		const entry = this.find(sequence, attempt);
		if (entry === undefined || entry.state === "parking") return false;
		if (entry.state === "flying") return (attempt === entry.attempts || !this.#options.isKeyed) && this.settle(entry, entry.attempts, ACK);
		this.counts.add("ack", 0);
		if (entry.state === "waiting") this.#settledLate();
		this.#finish(entry);
		return true;
	}

	/** The open entry of a sequence, and of that try where a dead letter and an event of the log both have it. */
	find(sequence: number, attempt: number): Entry | undefined {
		return this.#window.find(sequence, attempt);
	}

	/** The consumer is still at it: its time begins anew. */
	extend(entry: Entry, attempt: number): boolean {
		const isExtended = this.#flights.extend(entry, attempt);
		if (isExtended) this.counts.extended++;
		return isExtended;
	}

	// --- state

	/** Wall clock of the receipt of the oldest open event; undefined where none is open. */
	get oldestReceivedAtMs(): number | undefined {
		for (const { receivedAtMs } of this.#window.values()) return receivedAtMs;
		return undefined;
	}

	/** Nothing is taken before. */
	start(): void {
		this.#isRunning = true;
		this.#tell();
	}

	progress(): ProgressText {
		const { clock, life } = this.#options;
		const monotonicMs = clock.monotonicMs();
		const open: OpenEvent[] = [];
		for (const { sequence, attempts, state, dueMs } of this.#window.values()) {
			open.push({ sequence, attempts, waitMs: state === "flying" || dueMs <= monotonicMs ? 0 : dueMs - monotonicMs });
		}
		return encodeProgress({ life, position: this.position, atMs: clock.wallMs(), open });
	}

	/** Events that were looked at since the progress was written down last. */
	get unsavedEvents(): number {
		return this.position - this.#savedPosition;
	}

	/** Resolves once what has been settled by now is kept, its letters included; false where it could not be. */
	async saved(): Promise<boolean> {
		const areLettersKept = await this.#letters.settled();
		return (await this.#saver.flush()) && areLettersKept;
	}

	saveSoon(): void {
		this.#saver.touch();
	}

	/** Lets go of what it holds, and writes nothing more. */
	abandon(): void {
		this.#waiting.stop();
		this.#window.clear();
		this.#options.ready.clear();
	}

	/** Tries under way are cut and begin again some time. Progress is kept, and with it what is being written of dead letters. */
	async close(): Promise<void> {
		this.#isRunning = false;
		this.#waiting.stop();
		this.#pace.stop();
		this.#flights.stop();
		this.#saver.touch();
		for (const entry of this.#flights.entries()) entry.cut?.();
		for (const { replay } of this.#window.replays()) replay?.("gone");
		await this.#letters.settled();
		await this.#saver.close();
		this.#flights.clear();
		this.abandon();
	}

	#enter(event: StoredEvent, marks: EventMarks, attempts: number, dueMs: number, replay: Entry["replay"]): void {
		this.#options.ready.push(this.#window.enter(event, marks, attempts, dueMs, replay));
		this.#tell();
	}

	#nextReady(nowMs: number): Entry | undefined {
		const { ready } = this.#options;
		for (let entry = ready.next(); entry !== undefined; entry = ready.next()) {
			if (entry.state === "over") continue; // settled late
			if (entry.dueMs <= nowMs) return entry;
			entry.state = "waiting";
			this.#waiting.push(entry, entry.attempts, entry.dueMs - nowMs);
		}
		return undefined;
	}

	#fly(entry: Entry, nowMs: number): void {
		entry.state = "flying";
		entry.attempts++;
		entry.takenAtMs = nowMs;
		if (entry.firstTriedAtMs === 0) entry.firstTriedAtMs = this.#options.clock.wallMs();
		this.#flights.begin(entry, nowMs);
		this.#saver.touch();
	}

	#timedOut(entry: Entry, attempt: number): void {
		const { cut } = entry;
		this.counts.timedOut++;
		this.settle(entry, attempt, TIMED_OUT);
		cut?.();
	}

	#retry(entry: Entry, { delayMs }: Nak): void {
		const { clock, rng } = this.#options;
		const waitMs = Math.min(delayMs ?? backoffMs(this.#policy, entry.attempts, rng), DELAY_MS_MAX);
		entry.state = "waiting";
		entry.dueMs = clock.monotonicMs() + waitMs;
		this.#waiting.push(entry, entry.attempts, waitMs);
		this.#saver.touch();
	}

	#due(entry: Entry, attempt: number): void {
		if (entry.attempts !== attempt) return;
		if (entry.state === "parking") this.#letters.writeAgain(entry);
		else if (entry.state === "waiting") {
			entry.dueMs = 0; // the timer may be a fraction of a millisecond early
			entry.state = "ready";
			this.#options.ready.push(entry);
			this.#tell();
		}
	}

	/** The queue of what waits cannot take one out: it is filled anew before those that wait for nothing could crowd out the others. */
	#settledLate(): void {
		if (++this.#late < LATE_MAX) return;
		this.#late = 0;
		this.#waiting.stop();
		const nowMs = this.#options.clock.monotonicMs();
		for (const entry of [...this.#window.values(), ...this.#window.replays()]) {
			if (entry.state === "waiting" || entry.state === "parking") this.#waiting.push(entry, entry.attempts, Math.max(1, entry.dueMs - nowMs));
		}
	}

	#park(entry: Entry, { reason, status, answer }: Exclude<Verdict, { kind: "ack" }>): void {
		entry.state = "parking";
		entry.dueMs = 0;
		const { attempts, firstTriedAtMs } = entry;
		const answered = { ...(status !== undefined && { status }), ...(answer !== undefined && { answer }) };
		this.#letters.write(entry, { reason, ...answered, attempts, firstTriedAtMs, lastTriedAtMs: this.#options.clock.wallMs() });
	}

	#parked(entry: Entry): void {
		if (entry.replay === undefined) this.counts.parked++;
		this.#leave(entry, "failed");
	}

	#finish(entry: Entry): void {
		if (entry.replay === undefined) {
			this.#leave(entry, "recovered");
			return;
		}
		// Its letter goes before it is told.
		entry.state = "parking";
		this.#letters.remove(entry);
	}

	#leave(entry: Entry, outcome: ReplayOutcome): void {
		if (!this.#window.leave(entry)) return;
		this.#options.ready.settled(entry);
		entry.replay?.(outcome);
		this.#saver.touch();
		this.#tell();
		if (this.#live === undefined && this.#window.isWorthReading) this.onRoom();
	}

	/** Once, after all that this turn of the loop brings. */
	#tell(): void {
		if (this.#isTelling || !this.#isRunning) return;
		this.#isTelling = true;
		queueMicrotask(() => {
			this.#isTelling = false;
			if (this.#isRunning && this.#options.ready.size > 0) this.onReady();
		});
	}

	async #save(): Promise<boolean> {
		const { position } = this;
		const isKept = await this.#options.save(this.progress());
		if (isKept) this.#savedPosition = position;
		return isKept;
	}
}
