/**
 * Followers with the same filter who are all at the same place of the log: what is committed is read and encoded once, and told to each. Who cannot take
 * it at once leaves the others, and comes back when it has caught up (follower.ts).
 */
import { setImmediate } from "node:timers/promises";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { FOLLOW_PAGE_EVENTS } from "../limits.ts";
import type { EventFilter, EventLog } from "../log/event-log.ts";
import { type Gap, type Page, partsOf, type Told } from "./event-frames.ts";
import type { Follower } from "./follower.ts";

export interface CohortOptions {
	readonly log: EventLog;
	readonly logger: Logger;
	readonly filter: EventFilter;
	/** The last follower has gone. */
	readonly onDeserted: () => void;
}

/** A write costs some microseconds: after so many, whatever else Nexus has to do gets its turn. */
const SLICE = 128;

//   members   [ told | told | told | to be told | to be told | joined meanwhile ]
//                                    ^ cursor, while a round goes on
//
// Who joins during a round stands where the round began, and is told at its end.

export class Cohort {
	readonly #options: CohortOptions;
	readonly #members: Follower[] = [];
	/** They are further than the members are. */
	readonly #waiting = new Set<Follower>();
	readonly #stop: () => void;
	#followers = 0;
	/** Where the members stand; during a round, where they stood before it. */
	#position = 0;
	#cursor = 0;
	#isRunning = false;
	#isAsked = false;

	constructor(options: CohortOptions) {
		this.#options = options;
		this.#stop = options.log.onCommit(() => this.#wake());
	}

	enter(): void {
		this.#followers++;
	}

	/** Of the log. Who is beyond it has been told what a broker has lost: its sequences are given again. */
	get end(): number {
		return this.#options.log.stats().lastSequence;
	}

	/** Its stream has closed. */
	leave(follower: Follower): void {
		this.#waiting.delete(follower);
		if (follower.slot >= 0) this.#remove(follower);
		if (--this.#followers > 0) return;
		this.#stop();
		this.#options.onDeserted();
	}

	/** Whether it goes with the others from here on. `isAtEnd`: it has just read to the end of the log. */
	admit(follower: Follower, isAtEnd = false): boolean {
		const { end } = this;
		if (this.#isEmpty && (isAtEnd || follower.position >= end)) this.#position = follower.position;
		else if (this.#isEmpty || follower.position !== this.#position) return false;
		follower.slot = this.#members.push(follower) - 1;
		if (this.#position < end) this.#wake();
		return true;
	}

	/** Whether the others have to come to where it is; it is called when they have moved. */
	waits(follower: Follower): boolean {
		if (this.#isEmpty || follower.position <= this.#position) return false;
		this.#waiting.add(follower);
		return true;
	}

	/** What comes behind `position`, but nothing beyond the others. Rejects with what the log rejects with. */
	async readFor(position: number): Promise<Page> {
		const page = await this.#read(position);
		const bound = this.#isEmpty ? Number.POSITIVE_INFINITY : this.#position;
		if (page.end <= bound) return page;
		return {
			gaps: page.gaps.filter(({ first }) => first <= bound).map(({ first, last }) => ({ first, last: Math.min(last, bound) })),
			events: page.events.filter(({ sequence }) => sequence <= bound),
			end: bound,
			atEnd: false,
		};
	}

	failed(thrown: unknown): void {
		this.#options.logger.error("a follower could not read the log; its stream was closed", { error: messageOf(thrown) });
	}

	get #isEmpty(): boolean {
		return this.#members.length === 0 && !this.#isRunning;
	}

	#wake(): void {
		this.#isAsked = true;
		if (!this.#isRunning && this.#members.length > 0) void this.#run();
	}

	async #run(): Promise<void> {
		this.#isRunning = true;
		try {
			while (this.#isAsked && this.#members.length > 0) {
				this.#isAsked = false;
				while (!(await this.#round()));
			}
		} catch (thrown) {
			this.failed(thrown);
			for (const { stream } of [...this.#members]) stream.close();
		} finally {
			this.#cursor = 0;
			this.#isRunning = false;
		}
		this.#callWaiting();
	}

	/** True at the end of the log. */
	async #round(): Promise<boolean> {
		this.#position = Math.min(this.#position, this.end);
		const page = await this.#read(this.#position);
		const told = [...partsOf(page)];
		for (let count = 1; told.length > 0 && this.#cursor < this.#members.length; count++) {
			const follower = this.#members[this.#cursor] as Follower;
			if (this.#tell(follower, told)) this.#cursor++;
			else this.#remove(follower);
			if (count % SLICE === 0) await setImmediate();
		}
		// With nothing in between: who joins from here on has to stand at the new place.
		this.#cursor = 0;
		this.#position = page.end;
		this.#callWaiting();
		return page.atEnd;
	}

	/** False where it has not been told all; it goes on when its reader has caught up. */
	#tell(follower: Follower, told: readonly Told[]): boolean {
		const { stream } = follower;
		follower.position = this.#position;
		for (const { part, last } of told) {
			if (!stream.isReady) return false;
			stream.sendShared(part);
			follower.position = last;
		}
		return true;
	}

	/** The place of one who leaves is taken by the last of those in the same part of the line. */
	#remove(follower: Follower): void {
		let hole = follower.slot;
		follower.slot = -1;
		if (hole < this.#cursor) {
			this.#cursor--;
			this.#put(this.#members[this.#cursor] as Follower, hole);
			hole = this.#cursor;
		}
		const last = this.#members.pop() as Follower;
		if (hole < this.#members.length) this.#put(last, hole);
		if (this.#isEmpty) this.#callWaiting();
	}

	#put(follower: Follower, slot: number): void {
		// The one who leaves may be the one that would be moved.
		if (follower.slot >= 0) follower.slot = slot;
		this.#members[slot] = follower;
	}

	#callWaiting(): void {
		const waiting = [...this.#waiting];
		this.#waiting.clear();
		for (const follower of waiting) follower.goOn();
	}

	async #read(after: number): Promise<Page> {
		const { log, filter } = this.#options;
		const oldest = log.stats().firstSequence;
		const removed: readonly Gap[] = after < oldest - 1 ? [{ first: after + 1, last: oldest - 1 }] : [];
		const page = await log.read({ ...filter, after: Math.max(after, oldest - 1), order: "asc", limit: FOLLOW_PAGE_EVENTS });
		return { gaps: [...removed, ...page.damaged], events: page.events, end: Math.max(after, page.scannedTo), atEnd: page.atEnd };
	}
}
