/**
 * Events until Nexus has them: in memory, bounded by count and bytes, and with a directory behind it on disk as well. When full, the oldest
 * of the least important goes.
 */
import { RingQueue } from "../../core/ring-queue.ts";
import { type CloudEvent, EVENT_BYTES_LIMIT } from "../../events/cloud-event.ts";
import type { SpoolDirectory } from "./spool/spool-directory.ts";
import { SpoolLosses } from "./spool/spool-losses.ts";

// A day of state changes, or 10 minutes of rollups of 16 routes; a few milliseconds of memory traffic.
const EVENTS_MAX = 10_000;
// A tenth of the memory budget of a sidecar.
const BYTES_MAX = 8 * 1024 * 1024;
export const PRIORITIES = 10;
// Of an event that names none.
const PRIORITY_DEFAULT = 0;
/** Failures of the mesh: they do not wait behind a backlog of rollups. */
export const PRIORITY_URGENT = 8;

export interface EventSpoolOptions {
	/** In memory. */
	readonly eventsMax?: number;
	/** Of the events in memory as JSON. */
	readonly bytesMax?: number;
	/** Keeps every event until it is acknowledged. Open, and used by nobody else. */
	readonly directory?: SpoolDirectory | undefined;
	/** To count on where another spool was replaced. */
	readonly losses?: SpoolLosses;
}

export interface SpooledEvent {
	/** Rises with each event taken in. */
	readonly sequence: number;
	readonly priority: number;
	readonly json: string;
	readonly bytes: number;
}

//  priority 9: [ 4 | 7 ]            one lane per priority, each in order of arrival;
//  priority 1: [ 1 | 2 | 3 | 5 ]    `take` gives those from 8 up first, and merges what it has taken by sequence;
//              ^ dropped first      dropping begins with the least priority
//
//  a lane with a directory:   window -> parked -> tail
//    window  read back from disk, next to go
//    parked  on disk alone: written, and gone from memory for want of room
//    tail    in memory since it came; on disk within a turn of the loop

interface Lane {
	readonly priority: number;
	readonly window: RingQueue<SpooledEvent>;
	parked: number;
	readonly tail: RingQueue<SpooledEvent>;
	/** Sequence up to which everything was taken or lost. */
	passed: number;
	/** Sequence up to which everything was read back, or is lost. */
	read: number;
}

export class EventSpool {
	readonly directory: SpoolDirectory | undefined;
	readonly losses: SpoolLosses;
	#eventsMax: number;
	readonly #bytesMax: number;
	readonly #lanes: readonly Lane[];
	#sequence = 0;
	#size = 0;
	/** Of all windows and tails. */
	#bytes = 0;
	#tailSize = 0;
	#tailBytes = 0;

	constructor(options: EventSpoolOptions = {}) {
		const { directory } = options;
		this.directory = directory;
		this.losses = options.losses ?? new SpoolLosses(PRIORITIES);
		this.#eventsMax = options.eventsMax ?? EVENTS_MAX;
		this.#bytesMax = options.bytesMax ?? BYTES_MAX;
		this.#lanes = Array.from({ length: PRIORITIES }, (_, priority) => {
			const { events, after } = directory?.waiting(priority) ?? { events: 0, after: -1 };
			this.#size += events;
			return { priority, window: newQueue(), parked: events, tail: newQueue(), passed: after, read: after };
		});
		if (directory === undefined) return;
		this.#sequence = directory.lastSequence + 1;
		directory.begin((priority, sequences) => this.#removed(priority, sequences));
	}

	/** Events that were not taken, wherever they are. */
	get size(): number {
		return this.#size;
	}

	/** Of those in memory. */
	get bytes(): number {
		return this.#bytes;
	}

	/** How many more, and how many bytes of them, find a place without driving out others. */
	get room(): { readonly events: number; readonly bytes: number } {
		if (this.directory !== undefined) return { events: Number.POSITIVE_INFINITY, bytes: this.directory.freeBytes };
		return { events: this.#eventsMax - this.#tailSize, bytes: this.#bytesMax - this.#tailBytes };
	}

	/** From now on; what is over the new bound leaves memory at once. */
	setEventsMax(eventsMax: number): void {
		this.#eventsMax = eventsMax;
		this.#keepWithin();
	}

	/** Never refuses for want of room: something less important, or older, makes way; it may be this very event. */
	push(event: CloudEvent): void {
		const json = JSON.stringify(event);
		const bytes = Buffer.byteLength(json);
		const priority = this.#lanes[event.priority ?? PRIORITY_DEFAULT]?.priority ?? PRIORITY_DEFAULT;
		if (bytes > EVENT_BYTES_LIMIT || bytes > this.#bytesMax) this.losses.add("tooLarge", priority, 1);
		else this.#add(priority, json, bytes);
	}

	/** Takes in, in this order, what another spool had. */
	receive(events: readonly SpooledEvent[]): void {
		for (const { priority, json, bytes } of events) this.#add(priority, json, bytes);
	}

	/** Whether `take` would stop at an event that is on disk alone. */
	get needsLoad(): boolean {
		return this.#lanes.some(isUnread);
	}

	/** Reads what is next from the disk. Rejects never. */
	async load(): Promise<void> {
		for (const lane of this.#lanes) while (isUnread(lane)) await this.#loadLane(lane);
	}

	/**
	 * Removes and returns events within both bounds, one at least if there is any: failures of the mesh before anything else, the oldest
	 * first, and what is returned in the order in which it came. Events that only the disk has end it; `load` brings them.
	 */
	take(eventsMax: number, bytesMax: number, priorityMin = 0): SpooledEvent[] {
		const taken: SpooledEvent[] = [];
		let bytes = 0;
		for (const least of priorityMin >= PRIORITY_URGENT ? [PRIORITY_URGENT] : [PRIORITY_URGENT, priorityMin]) {
			while (taken.length < eventsMax) {
				const lane = this.#oldest(least);
				const next = lane && headOf(lane);
				if (lane === undefined || next === undefined || (taken.length > 0 && bytes + next.bytes > bytesMax)) break;
				taken.push(next);
				bytes += next.bytes;
				this.#shift(lane);
				lane.passed = next.sequence;
			}
		}
		return taken.sort((a, b) => a.sequence - b.sequence);
	}

	/** Nexus has them, or will never take them; of each priority they are the oldest that were taken. */
	acknowledge(events: readonly SpooledEvent[]): void {
		if (this.directory === undefined) return;
		for (const { priority, sequence } of events) this.directory.acknowledge(priority, sequence);
	}

	#add(priority: number, json: string, bytes: number): void {
		const event: SpooledEvent = { sequence: this.#sequence++, priority, json, bytes };
		this.#lane(priority).tail.push(event);
		this.#size++;
		this.#bytes += bytes;
		this.#tailSize++;
		this.#tailBytes += bytes;
		this.directory?.append(event);
		this.#keepWithin();
	}

	#lane(priority: number): Lane {
		const lane = this.#lanes[priority];
		if (lane === undefined) throw new Error(`no such priority: ${priority}`);
		return lane;
	}

	/** Of the lanes from `priorityMin` up; undefined where there is none, or where one of them has to be read first. */
	#oldest(priorityMin: number): Lane | undefined {
		let oldest: Lane | undefined;
		let sequence = Number.POSITIVE_INFINITY;
		for (let priority = priorityMin; priority < PRIORITIES; priority++) {
			const lane = this.#lane(priority);
			if (isUnread(lane)) return undefined;
			const head = headOf(lane);
			if (head === undefined || head.sequence > sequence) continue;
			oldest = lane;
			sequence = head.sequence;
		}
		return oldest;
	}

	async #loadLane(lane: Lane): Promise<void> {
		const { priority } = lane;
		const reading = await this.directory?.readAfter(priority, lane.passed);
		if (reading === undefined) {
			this.#lose("damaged", lane, lane.parked);
			return;
		}
		// While it was read, more may have been parked, and the file may have made way.
		const end = lane.tail.peek()?.sequence ?? Number.POSITIVE_INFINITY;
		const isParked = (sequence: number): boolean => sequence > lane.passed && sequence < end;
		let missing = reading.sequences.filter(isParked).length;
		for (const { sequence, json, bytes } of reading.records) {
			if (!isParked(sequence)) continue;
			lane.window.push({ sequence, priority, json, bytes });
			lane.parked--;
			missing--;
			this.#bytes += bytes;
		}
		if (missing > 0) this.#lose("damaged", lane, missing);
		lane.read = Math.max(lane.read, Math.min(reading.sequences.at(-1) ?? -1, end - 1));
		if (lane.window.size === 0) lane.passed = Math.max(lane.passed, lane.read);
	}

	/** Of the parked events. */
	#lose(cause: "damaged" | "overflow", lane: Lane, events: number): void {
		const lost = Math.min(events, lane.parked);
		lane.parked -= lost;
		this.#size -= lost;
		this.losses.add(cause, lane.priority, lost);
	}

	#keepWithin(): void {
		while (this.#tailSize > this.#eventsMax || this.#tailBytes > this.#bytesMax) {
			if (!this.#park() && !this.#dropOldest()) return;
		}
	}

	/** Forgets the oldest event of a tail that the disk has. */
	#park(): boolean {
		const { directory } = this;
		if (directory === undefined) return false;
		const lane = this.#lanes.find(({ tail }) => {
			const head = tail.peek();
			return head !== undefined && directory.has(head);
		});
		if (lane === undefined) return false;
		this.#shiftTail(lane);
		lane.parked++;
		return true;
	}

	#dropOldest(): boolean {
		const lane = this.#lanes.find(({ tail }) => {
			const head = tail.peek();
			return head !== undefined && this.directory?.isUnderWay(head) !== true;
		});
		const dropped = lane && this.#shiftTail(lane);
		if (lane === undefined || dropped === undefined) return false;
		this.#size--;
		this.directory?.discard(lane.priority, dropped.sequence);
		this.losses.add("overflow", lane.priority, 1);
		return true;
	}

	/** The disk had no room for these: what was not taken of them is lost, wherever it is. */
	#removed(priority: number, sequences: readonly number[]): void {
		const lane = this.#lane(priority);
		const last = sequences.at(-1) ?? -1;
		const read = Math.max(lane.read, lane.passed);
		const end = lane.tail.peek()?.sequence ?? Number.POSITIVE_INFINITY;
		const parked = sequences.filter((sequence) => sequence > read && sequence < end).length;
		if (parked > 0) this.#lose("overflow", lane, parked);
		let inMemory = 0;
		for (const queue of [lane.window, lane.tail]) {
			for (; (queue.peek()?.sequence ?? Number.POSITIVE_INFINITY) <= last; inMemory++) this.#shift(lane);
		}
		this.losses.add("overflow", priority, inMemory);
		lane.passed = Math.max(lane.passed, last);
	}

	/** The next event leaves memory and the spool. */
	#shift(lane: Lane): void {
		this.#size--;
		if (lane.window.size === 0) this.#shiftTail(lane);
		else this.#bytes -= lane.window.shift()?.bytes ?? 0;
	}

	#shiftTail(lane: Lane): SpooledEvent | undefined {
		const event = lane.tail.shift();
		if (event === undefined) return undefined;
		this.#bytes -= event.bytes;
		this.#tailSize--;
		this.#tailBytes -= event.bytes;
		return event;
	}
}

function newQueue(): RingQueue<SpooledEvent> {
	return new RingQueue(Number.MAX_SAFE_INTEGER);
}

function headOf(lane: Lane): SpooledEvent | undefined {
	return lane.window.peek() ?? lane.tail.peek();
}

function isUnread({ window, parked }: Lane): boolean {
	return parked > 0 && window.size === 0;
}
