/**
 * The events of a sidecar on disk: a chain of files per priority, bounded, written as soon as a turn of the loop is over. One operation at
 * a time: a disk that hangs holds one thread of the pool and none of the loop.
 */
import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "../../../core/clock.ts";
import { type DirectoryLock, lockDirectory } from "../../../core/directory-lock.ts";
import { messageOf } from "../../../core/errors.ts";
import type { Logger } from "../../../core/log.ts";
import { PRIORITIES, type SpooledEvent } from "../event-spool.ts";
import { type Disk, systemDisk } from "./disk.ts";
import { PositionFile } from "./position-file.ts";
import { recoverSegments } from "./recovery.ts";
import { SegmentChain, type SegmentReading, segmentBytesFor } from "./segment-chain.ts";
import { SpoolLane } from "./spool-lane.ts";

export interface SpoolDirectoryOptions {
	readonly dir: string;
	/** Of all files of events. */
	readonly bytesMax: number;
	readonly clock: Clock;
	readonly log: Logger;
	readonly disk?: Disk;
}

/** Told of events that made way: by priority, their sequences in order. */
export type OnRemoved = (priority: number, sequences: readonly number[]) => void;

// What a power cut may take, and five syncs a second of a few KiB at the most.
const SYNC_MS = 200;
// A full disk is looked after by a person.
const RETRY_MS = 1000;

export class SpoolDirectory {
	readonly #options: SpoolDirectoryOptions;
	readonly #lock: DirectoryLock;
	readonly #position: PositionFile;
	readonly #lanes: readonly SpoolLane[];
	#bytesMax: number;
	#isPositionOld = false;
	#syncTimer: Timer | undefined;
	#isSyncDue = false;
	#retryTimer: Timer | undefined;
	#running: Promise<void> | undefined;
	#last: Promise<unknown> = Promise.resolve();
	#isClosed = false;
	/** True from the first failed write to the next good one. */
	faulty = false;
	#onRemoved: OnRemoved = () => {};

	private constructor(options: SpoolDirectoryOptions, lock: DirectoryLock, position: PositionFile, lanes: readonly SpoolLane[]) {
		this.#options = options;
		this.#lock = lock;
		this.#position = position;
		this.#lanes = lanes;
		this.#bytesMax = options.bytesMax;
	}

	/** Creates the directory where it is missing. Rejects in words, or with what the system says, where it cannot be used. */
	static async open(options: SpoolDirectoryOptions): Promise<SpoolDirectory> {
		const { dir, bytesMax, log, disk = systemDisk } = options;
		await mkdir(dir, { recursive: true, mode: 0o700 });
		await access(dir, constants.R_OK | constants.W_OK | constants.X_OK);
		const lock = lockDirectory(dir);
		try {
			const { file, acknowledged } = await PositionFile.read(disk, join(dir, "position"), PRIORITIES);
			const { segments, notes } = await recoverSegments(disk, dir, PRIORITIES);
			for (const note of notes) log.warn("a part of the event spool is damaged; what is whole around it is kept", { ...note });
			const segmentBytes = segmentBytesFor(bytesMax);
			const lanes = segments.map(
				(found, priority) => new SpoolLane(priority, new SegmentChain(disk, dir, priority, segmentBytes, found), acknowledged[priority] ?? -1),
			);
			return new SpoolDirectory(options, lock, file, lanes);
		} catch (thrown) {
			lock.release();
			throw thrown;
		}
	}

	begin(onRemoved: OnRemoved): void {
		this.#onRemoved = onRemoved;
		this.#kick();
	}

	get dir(): string {
		return this.#options.dir;
	}

	/** Of the files. */
	get bytes(): number {
		return this.#lanes.reduce((sum, { chain }) => sum + chain.bytes, 0);
	}

	get freeBytes(): number {
		return this.#bytesMax - this.bytes;
	}

	/** Events that would end with the process. */
	get unwrittenEvents(): number {
		return this.#lanes.reduce((sum, lane) => sum + lane.unwrittenEvents, 0);
	}

	setBytesMax(bytesMax: number): void {
		this.#bytesMax = bytesMax;
		this.#kick();
	}

	/** Events of a priority that are on disk and not acknowledged, and the sequence before the first of them. */
	waiting(priority: number): { readonly events: number; readonly after: number } {
		const { chain, acknowledged: after } = this.#lane(priority);
		return { events: chain.countAfter(after), after };
	}

	/** Events on disk that are not acknowledged, of all priorities. */
	get waitingEvents(): number {
		return this.#lanes.reduce((sum, { chain, acknowledged }) => sum + chain.countAfter(acknowledged), 0);
	}

	/** The highest that is on disk or was acknowledged; -1 where there is none. */
	get lastSequence(): number {
		return Math.max(...this.#lanes.map((lane) => Math.max(lane.chain.lastSequence, lane.acknowledged)));
	}

	/** Is written when this turn of the loop is over. */
	append(event: SpooledEvent): void {
		this.#lane(event.priority).add(event);
		this.#kick();
	}

	has(event: SpooledEvent): boolean {
		return this.#lane(event.priority).chain.has(event.sequence);
	}

	/** Under way to the disk: what becomes of it is not known yet. */
	isUnderWay(event: SpooledEvent): boolean {
		return this.#lane(event.priority).isUnderWay(event.sequence);
	}

	/** The next events of a priority after `sequence`; undefined where there are none. Rejects never. */
	readAfter(priority: number, sequence: number): Promise<SegmentReading | undefined> {
		return this.#alone(() => this.#lane(priority).chain.readAfter(sequence));
	}

	/** Nexus has all of this priority up to `sequence`. */
	acknowledge(priority: number, sequence: number): void {
		const lane = this.#lane(priority);
		if (sequence <= lane.acknowledged) return;
		lane.acknowledge(sequence);
		this.#isPositionOld = true;
		this.#kick();
	}

	/** What is not written yet of this priority up to `sequence` was lost from memory and must not be written any more. */
	discard(priority: number, sequence: number): void {
		this.#lane(priority).discard(sequence);
	}

	/** Tries to write all that waits. True where it is with the system. Rejects never. */
	flush(): Promise<boolean> {
		return this.#alone(() => this.#writeAll());
	}

	/** Writes and syncs what it can, removes what is acknowledged, and gives the directory free. What hangs is not waited for longer than that. */
	async close(timeoutMs: number): Promise<void> {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#syncTimer?.cancel();
		this.#retryTimer?.cancel();
		const closed = this.#alone(() => this.#close()).finally(() => this.#lock.release());
		const { promise: timeout, resolve } = Promise.withResolvers<void>();
		const timer = this.#options.clock.setTimer(timeoutMs, resolve);
		await Promise.race([closed, timeout]).finally(() => timer.cancel());
	}

	async #close(): Promise<void> {
		await this.#writeAll();
		await this.#try(() => this.#sync());
		for (const { chain } of this.#lanes) await chain.close();
		await this.#try(() => this.#removeSpent());
		await this.#position.close().catch(() => {});
	}

	async #writeAll(): Promise<boolean> {
		let good = true;
		while (good && this.unwrittenEvents > 0) good = await this.#try(() => this.#round());
		return good && (await this.#try(() => this.#round()));
	}

	#lane(priority: number): SpoolLane {
		const lane = this.#lanes[priority];
		if (lane === undefined) throw new Error(`no such priority: ${priority}`);
		return lane;
	}

	/** One after the other, in the order of the calls. */
	#alone<T>(work: () => Promise<T>): Promise<T> {
		const done = this.#last.then(work);
		this.#last = done.catch(() => {}); // whoever called is told
		return done;
	}

	#kick(): void {
		if (this.#running !== undefined || this.#isClosed || !this.#hasWork()) return;
		this.#running = this.#run().finally(() => {
			this.#running = undefined;
			this.#kick();
		});
	}

	async #run(): Promise<void> {
		// What else happens in this turn goes into the same write.
		await new Promise((resolve) => setImmediate(resolve));
		while (!this.#isClosed && this.#hasWork()) {
			await this.#alone(() => this.#try(() => (this.#retryTimer === undefined ? this.#round() : this.#removeSpent())));
		}
	}

	#hasWork(): boolean {
		if (this.#lanes.some((lane) => lane.isSpent)) return true;
		if (this.#retryTimer !== undefined) return false;
		return this.#isPositionOld || this.#isSyncDue || this.bytes > this.#bytesMax || this.unwrittenEvents > 0;
	}

	async #round(): Promise<void> {
		await this.#removeSpent();
		if (this.#isSyncDue) await this.#sync(); // what is written by now does not wait for a disk that takes no more
		await this.#makeRoom(0, PRIORITIES - 1);
		let wrote = false;
		for (const lane of this.#lanes) wrote = (await this.#write(lane)) || wrote;
		if (wrote) this.#wrote();
		if (this.#isPositionOld) {
			const written = this.#lanes.map((lane) => lane.acknowledged);
			await this.#position.write(written);
			this.#isPositionOld = this.#lanes.some(({ acknowledged, priority }) => acknowledged !== written[priority]);
		}
	}

	async #removeSpent(): Promise<void> {
		for (const lane of this.#lanes) while (lane.isSpent) await lane.chain.dropOldest();
	}

	/** True where something was written. */
	async #write(lane: SpoolLane): Promise<boolean> {
		const bytes = lane.prepare();
		if (bytes === 0) return false;
		if (!(await this.#makeRoom(bytes, lane.priority))) {
			this.#onRemoved(lane.priority, lane.giveUp());
			return false;
		}
		await lane.write();
		this.#syncTimer ??= this.#options.clock.setTimer(SYNC_MS, () => {
			this.#syncTimer = undefined;
			this.#isSyncDue = true;
			this.#kick();
		});
		return true;
	}

	/** Drops the oldest of the least important, none that is more important than `priority`. False where there is no room even so. */
	async #makeRoom(bytes: number, priority: number): Promise<boolean> {
		while (this.bytes + bytes > this.#bytesMax) {
			const victim = this.#lanes.find((lane) => !lane.chain.isEmpty);
			if (victim === undefined || victim.priority > priority) return false;
			// Told first: from now on nobody reads them from the disk, whatever the system says to the removal.
			this.#onRemoved(victim.priority, victim.chain.oldest);
			await victim.chain.dropOldest();
		}
		return true;
	}

	async #sync(): Promise<void> {
		for (const { chain } of this.#lanes) if (chain.hasUnsynced) await chain.sync();
		this.#isSyncDue = false;
	}

	#wrote(): void {
		if (this.faulty) this.#options.log.info("the event spool is written again", { dir: this.#options.dir });
		this.faulty = false;
	}

	/** False where it failed: told once, until a write went well, and tried again after a rest. */
	async #try(work: () => Promise<unknown>): Promise<boolean> {
		try {
			await work();
			return true;
		} catch (thrown) {
			const { clock, log, dir } = this.#options;
			if (!this.faulty) log.warn("the event spool cannot be written; events stay in memory while there is room", { dir, error: messageOf(thrown) });
			this.faulty = true;
			const retry = (): void => {
				this.#retryTimer = undefined;
				this.#kick();
			};
			if (!this.#isClosed) this.#retryTimer ??= clock.setTimer(RETRY_MS, retry);
			return false;
		}
	}
}
