/** An accepted connection without TLS, in the form in which one with TLS is handed over. */
import type { Socket } from "node:net";
import { adopt, type ByteReader } from "./byte-socket.ts";
import type { LoopMemory } from "./loop-memory.ts";
import type { ReadyStream } from "./ready-stream.ts";

export class PlainStream implements ReadyStream<never>, ByteReader {
	readonly socket: Socket;
	readonly peer = undefined;
	#reader: ByteReader | undefined;

	/** `accepted`: paused, and nothing read from it. Reads begin with its `resume`. */
	constructor(accepted: Socket, shared: LoopMemory) {
		this.socket = adopt(accepted, shared, this);
	}

	readTo(reader: ByteReader): void {
		this.#reader = reader;
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		this.#reader?.onBytes(buffer, from, to);
	}
}
