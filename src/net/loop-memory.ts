/**
 * The memory that all connections of one event loop share: one buffer to read into, one in which to compose what is written. Both are
 * valid only during a call. The system takes nearly every write at once; only what it does not take keeps its memory, and the loop gets a
 * new piece. This spares an allocation and a collection for each read and for each body that passes.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** As libuv suggests for a read; a larger one gains nothing. */
const READ_BYTES = 64 * 1024;

/** The largest read, a head in front of it, and the framing of a chunk. */
const WRITE_BYTES = 128 * 1024;

/** Pieces for slow readers that are kept for the next one, 2 MiB of them; the collector would only find them after a hundred. */
const SPARE_MAX = 32;
/** A spare piece holds a whole read with its framing; smaller ones than this are left to the allocator. */
const SPARE_BYTES = READ_BYTES + 4 * 1024;
const SPARED_BYTES_MIN = 16 * 1024;

/** Gives memory for bytes that are about to be written to it. */
export interface Room {
	/** Valid until the next call of anything; its old contents mean nothing. */
	room(bytes: number): Buffer;
}

/** Memory that is kept for longer than one write. */
export const OWN_ROOM: Room = Object.freeze({ room: (bytes: number) => Buffer.allocUnsafe(bytes) });

/** One per event loop. */
export class LoopMemory {
	/** What a socket has read, until the next read of any socket. */
	readonly bytes: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
	#slab: Buffer = Buffer.allocUnsafeSlow(WRITE_BYTES);
	readonly #spares: Buffer[] = [];

	/** Where to compose what is written to `socket` next. One that lags behind gets memory of its own, as it will keep it for a while. */
	room(socket: Socket, bytes: number): Buffer {
		if (socket.writableLength === 0 && bytes <= WRITE_BYTES) return this.#slab.subarray(0, bytes);
		if (bytes < SPARED_BYTES_MIN || bytes > SPARE_BYTES) return Buffer.allocUnsafe(bytes);
		return (this.#spares.pop() ?? Buffer.allocUnsafeSlow(SPARE_BYTES)).subarray(0, bytes);
	}

	/** Writes what was composed in `room`, or any other bytes that nobody changes. */
	write(socket: Socket, part: Buffer): void {
		if (part.buffer.byteLength === SPARE_BYTES) {
			// Large pieces towards slow readers: taken back once the system has them.
			socket.write(part, () => this.#takeBack(part));
			return;
		}
		const waits = socket.writableLength > 0;
		socket.write(part);
		// A partial write goes on pointing into the slab, so the slab is the socket's now. TLS has copied what it did not queue, but tells later.
		if (part.buffer === this.#slab.buffer && socket.writableLength > 0 && (waits || !isEncrypted(socket))) {
			this.#slab = Buffer.allocUnsafeSlow(WRITE_BYTES);
		}
	}

	#takeBack(part: Buffer): void {
		if (this.#spares.length < SPARE_MAX) this.#spares.push(Buffer.from(part.buffer));
	}
}

function isEncrypted(socket: Socket): boolean {
	return (socket as Partial<TLSSocket>).encrypted === true;
}
