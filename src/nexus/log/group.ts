/** Events that wait for the same commit: their bytes in one buffer, their rows, and who waits. Becomes one block. */

import { ROW_WORDS, rowHashHi, rowHashLo, rowSource, setRow } from "./block-codec.ts";
import type { NewEvent } from "./event-log.ts";

/** Above these a group takes no further batch. A commit of 2 MiB costs about as much per byte as a larger one, and memory stays small. */
const GROUP_BYTES_MAX = 2 * 1024 * 1024;
const GROUP_EVENTS_MAX = 8192;
const BYTES_START = 128 * 1024;
const ROWS_START = 512;

export type GroupResult = { readonly ok: true } | { readonly ok: false; readonly cause: unknown };

/** The memory of a group, handed on to a later one. */
export interface GroupBuffers {
	bytes: Buffer;
	rows: Uint32Array<ArrayBuffer>;
}

export function newGroupBuffers(): GroupBuffers {
	return { bytes: Buffer.allocUnsafeSlow(BYTES_START), rows: new Uint32Array(ROWS_START * ROW_WORDS) };
}

export class Group {
	readonly firstSequence: number;
	readonly buffers: GroupBuffers;
	/** Undefined: the time of the commit. */
	readonly receivedAtMs: number | undefined;
	readonly ids: string[] = [];
	readonly types: string[] = [];
	readonly sources: string[] = [];
	/** Settles when the group is durable or has failed; never rejects. */
	readonly done: Promise<GroupResult>;
	readonly settle: (result: GroupResult) => void;
	bodyBytes = 0;
	readonly #typeIndex = new Map<string, number>();
	readonly #sourceIndex = new Map<string, number>();

	constructor(firstSequence: number, buffers: GroupBuffers, receivedAtMs: number | undefined) {
		this.firstSequence = firstSequence;
		this.receivedAtMs = receivedAtMs;
		this.buffers = buffers;
		const { promise, resolve } = Promise.withResolvers<GroupResult>();
		this.done = promise;
		this.settle = resolve;
	}

	get events(): number {
		return this.ids.length;
	}

	get isFull(): boolean {
		return this.bodyBytes >= GROUP_BYTES_MAX || this.events >= GROUP_EVENTS_MAX;
	}

	get body(): Buffer {
		return this.buffers.bytes.subarray(0, this.bodyBytes);
	}

	/** Copies the event's bytes and returns its sequence. */
	stage(event: NewEvent, bytes: Buffer, hi: number, lo: number, subjectHash: number): number {
		const length = event.end - event.start;
		const index = this.events;
		this.#reserve(length, index + 1);
		bytes.copy(this.buffers.bytes, this.bodyBytes, event.start, event.end);
		const type = indexOf(this.#typeIndex, this.types, event.type);
		const source = indexOf(this.#sourceIndex, this.sources, event.source);
		setRow(this.buffers.rows, index, hi, lo, this.bodyBytes, length, event.priority, subjectHash, type, source);
		this.bodyBytes += length;
		this.ids.push(event.id);
		return this.firstSequence + index;
	}

	/** Whether the event with this sequence, if it is in this group, has that identity. */
	holds(sequence: number, source: string, id: string): boolean {
		const index = sequence - this.firstSequence;
		return this.ids[index] === id && this.sources[rowSource(this.buffers.rows, index)] === source;
	}

	forEachHash(visit: (hi: number, lo: number, sequence: number) => void): void {
		const { rows } = this.buffers;
		for (let i = 0; i < this.events; i++) visit(rowHashHi(rows, i), rowHashLo(rows, i), this.firstSequence + i);
	}

	#reserve(bytes: number, events: number): void {
		const needed = this.bodyBytes + bytes;
		if (needed > this.buffers.bytes.length) {
			const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.buffers.bytes.length * 2));
			this.buffers.bytes.copy(larger, 0, 0, this.bodyBytes);
			this.buffers.bytes = larger;
		}
		if (events * ROW_WORDS > this.buffers.rows.length) {
			const larger = new Uint32Array(this.buffers.rows.length * 2);
			larger.set(this.buffers.rows);
			this.buffers.rows = larger;
		}
	}
}

function indexOf(index: Map<string, number>, names: string[], name: string): number {
	const known = index.get(name);
	if (known !== undefined) return known;
	index.set(name, names.length);
	return names.push(name) - 1;
}
