/** The events of one priority on their way to the disk, and the files in which they arrive. */
import { RingQueue } from "../../../core/ring-queue.ts";
import type { SpooledEvent } from "../event-spool.ts";
import { RECORD_HEAD_BYTES } from "./record-codec.ts";
import type { SegmentChain } from "./segment-chain.ts";

// One write: about 0.1 ms of encoding, and at most this much that cannot make way while it is under way; a larger event goes alone.
const GROUP_BYTES_MAX = 64 * 1024;

export class SpoolLane {
	readonly priority: number;
	readonly chain: SegmentChain;
	readonly #unwritten = new RingQueue<SpooledEvent>(Number.MAX_SAFE_INTEGER);
	/** Taken out of `#unwritten` for one write; kept while that fails. */
	#group: readonly SpooledEvent[] = [];
	#isWriting = false;
	/** Nexus has all up to it. */
	acknowledged: number;
	/** Up to it, what was not written is lost from memory. */
	#discarded = -1;

	constructor(priority: number, chain: SegmentChain, acknowledged: number) {
		this.priority = priority;
		this.chain = chain;
		this.acknowledged = acknowledged;
	}

	get unwrittenEvents(): number {
		return this.#unwritten.size + this.#group.filter((event) => this.#isAlive(event)).length;
	}

	/** The oldest file has nothing that anybody waits for. */
	get isSpent(): boolean {
		return this.chain.isSpent(this.acknowledged);
	}

	add(event: SpooledEvent): void {
		this.#unwritten.push(event);
	}

	acknowledge(sequence: number): void {
		this.acknowledged = sequence;
		this.#forgetDead();
	}

	discard(sequence: number): void {
		this.#discarded = sequence;
		this.#forgetDead();
	}

	isUnderWay(sequence: number): boolean {
		return this.#isWriting && sequence <= (this.#group.at(-1)?.sequence ?? -1);
	}

	/** Chooses what is written next, or what was not the last time; 0 where there is nothing, or the bytes that it takes on disk. */
	prepare(): number {
		if (this.#group.length === 0) this.#group = this.#takeGroup();
		this.#group = this.#group.filter((event) => this.#isAlive(event));
		return this.#group.reduce((sum, event) => sum + RECORD_HEAD_BYTES + event.bytes, 0);
	}

	/** There is no room for what was chosen; returns its sequences. */
	giveUp(): readonly number[] {
		const given = this.#group.filter((event) => this.#isAlive(event));
		this.#group = [];
		return given.map((event) => event.sequence);
	}

	/** Writes what was chosen; where it rejects, it stays chosen. */
	async write(): Promise<void> {
		// Since it was chosen room was made, and meanwhile memory may have lost some of it.
		this.#group = this.#group.filter((event) => this.#isAlive(event));
		this.#isWriting = true;
		try {
			await this.chain.append(this.#group);
			this.#group = [];
		} finally {
			this.#isWriting = false;
		}
	}

	#takeGroup(): SpooledEvent[] {
		const group: SpooledEvent[] = [];
		let bytes = 0;
		for (let next = this.#unwritten.peek(); next !== undefined; next = this.#unwritten.peek()) {
			if (group.length > 0 && bytes + next.bytes > GROUP_BYTES_MAX) break;
			bytes += next.bytes;
			group.push(next);
			this.#unwritten.shift();
		}
		return group;
	}

	#isAlive({ sequence }: SpooledEvent): boolean {
		return sequence > this.acknowledged && sequence > this.#discarded;
	}

	#forgetDead(): void {
		for (let next = this.#unwritten.peek(); next !== undefined && !this.#isAlive(next); next = this.#unwritten.peek()) this.#unwritten.shift();
	}
}
