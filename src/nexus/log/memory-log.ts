/** The log that lives as long as its process: for tests, demonstrations and meshes whose events may be lost. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { type Bounds, type Broker, type BrokerAppend, type BrokerEvent, NEXT_WAIT_MS, type Next, type Receipt } from "./broker.ts";
import { openBrokerLog } from "./broker-log.ts";
import { BACKENDS } from "./capabilities.ts";
import type { EventLog, RetentionLimits, StoredEvent } from "./event-log.ts";
import { MEMORY_LOG_BYTES } from "./limits.ts";

export interface MemoryLogOptions {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
	/** The oldest events go before there is more than this. */
	readonly bytesMax?: number;
}

/** Where an event stands beside its JSON. */
const OVERHEAD_BYTES = 300;
// Cutting the array at every event would move all the others.
const CUT_EVENTS = 4096;

export function openMemoryLog({ clock, log, retention, bytesMax }: MemoryLogOptions): Promise<EventLog> {
	return openBrokerLog({
		broker: new MemoryBroker(clock, bytesMax ?? MEMORY_LOG_BYTES),
		clock,
		log,
		dedupesHere: false,
		...(retention && { retention }),
	});
}

interface Kept {
	readonly identity: string;
	readonly event: StoredEvent;
}

class MemoryBroker implements Broker {
	readonly capabilities = BACKENDS.memory;
	readonly #clock: Clock;
	readonly #bytesMax: number;
	readonly #sequences = new Map<string, number>();
	/** Sequences without a gap; those before `#first` are removed. */
	#events: Kept[] = [];
	#head = 0;
	#last = 0;
	#bytes = 0;
	#wake: (() => void) | undefined;

	constructor(clock: Clock, bytesMax: number) {
		this.#clock = clock;
		this.#bytesMax = bytesMax;
	}

	async append(events: readonly BrokerEvent[], receivedAtMs: number): Promise<BrokerAppend> {
		const receipts = events.map(({ identity, json }): Receipt => {
			const known = this.#sequences.get(identity);
			if (known !== undefined) return { sequence: known, isDuplicate: true };
			const sequence = ++this.#last;
			this.#events.push({ identity, event: { sequence, receivedAtMs, json } });
			this.#sequences.set(identity, sequence);
			this.#bytes += json.length + OVERHEAD_BYTES;
			return { sequence, isDuplicate: false };
		});
		while (this.#bytes > this.#bytesMax) this.#dropOldest();
		this.#wake?.();
		return { ok: true, receipts };
	}

	async fetch(first: number, count: number): Promise<readonly StoredEvent[]> {
		const at = this.#head + Math.max(0, first - this.#first);
		return this.#events.slice(at, at + count).map(({ event }) => event);
	}

	async next(after: number): Promise<Next> {
		if (this.#last <= after) {
			await new Promise<void>((resolve) => {
				const timer = this.#clock.setTimer(NEXT_WAIT_MS, resolve);
				this.#wake = () => {
					timer.cancel();
					resolve();
				};
			});
		}
		const events = await this.fetch(after + 1, CUT_EVENTS);
		return { events, position: events.at(-1)?.sequence ?? after };
	}

	async bounds(): Promise<Bounds> {
		return { first: this.#first, last: this.#last, bytes: this.#bytes };
	}

	/** Times may have jumped, or be those of another log: the first that is late enough, from the oldest on. */
	async sequenceAt(timeMs: number): Promise<number | undefined> {
		for (let i = this.#head; i < this.#events.length; i++) {
			const { event } = this.#events[i] as Kept;
			if (event.receivedAtMs >= timeMs) return event.sequence;
		}
		return undefined;
	}

	async removeBefore(sequence: number): Promise<void> {
		while (this.#first < sequence && this.#head < this.#events.length) this.#dropOldest();
	}

	async close(): Promise<void> {
		this.#wake?.();
	}

	get #first(): number {
		return this.#last - (this.#events.length - this.#head) + 1;
	}

	#dropOldest(): void {
		const { identity, event } = this.#events[this.#head++] as Kept;
		this.#sequences.delete(identity);
		this.#bytes -= event.json.length + OVERHEAD_BYTES;
		if (this.#head >= CUT_EVENTS && this.#head * 2 >= this.#events.length) {
			this.#events = this.#events.slice(this.#head);
			this.#head = 0;
		}
	}
}
