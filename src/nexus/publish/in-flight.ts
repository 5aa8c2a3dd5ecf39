/** How much of producers' is in hand: read, checked, or waiting for the disk. Bounded in bytes and events; the last part is for urgent ones. */
import { IN_FLIGHT_BYTES_MAX } from "../limits.ts";
import { IN_FLIGHT_EVENTS_MAX, URGENT_PART } from "./limits.ts";

/** Who waits for room is called once there is this part of it. */
const ROOM_PART = 1 / 4;

export class InFlight {
	readonly #bytesMax: number;
	readonly #eventsMax: number;
	#bytes = 0;
	#events = 0;
	readonly #waiters = new Set<() => void>();

	constructor(bytesMax: number = IN_FLIGHT_BYTES_MAX, eventsMax: number = IN_FLIGHT_EVENTS_MAX) {
		this.#bytesMax = bytesMax;
		this.#eventsMax = eventsMax;
	}

	get bytes(): number {
		return this.#bytes;
	}

	get events(): number {
		return this.#events;
	}

	/** Whether so much more may come, of which nobody knows yet how urgent it is. */
	hasRoomFor(bytes: number): boolean {
		return this.#bytes + bytes <= this.#bytesMax && this.#events < this.#eventsMax;
	}

	/** Whether only urgent events may go on. */
	get isShort(): boolean {
		return this.#bytes > this.#bytesMax * (1 - URGENT_PART) || this.#events > this.#eventsMax * (1 - URGENT_PART);
	}

	take(bytes: number, events: number): void {
		this.#bytes += bytes;
		this.#events += events;
	}

	giveBack(bytes: number, events: number): void {
		this.#bytes -= bytes;
		this.#events -= events;
		if (this.#waiters.size === 0 || this.#bytes > this.#bytesMax * (1 - ROOM_PART) || this.#events > this.#eventsMax * (1 - ROOM_PART)) return;
		const waiters = [...this.#waiters];
		this.#waiters.clear();
		for (const waiter of waiters) waiter();
	}

	/** Calls once, when there is room again. Returns how to stop that. */
	onRoom(waiter: () => void): () => void {
		this.#waiters.add(waiter);
		return () => void this.#waiters.delete(waiter);
	}
}
