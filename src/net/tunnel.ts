/** Bytes both ways between two sockets, opaque, with backpressure and half-close: what an upgraded connection becomes. */
import type { Socket } from "node:net";
import type { Deadline } from "../core/deadline-wheel.ts";
import { type ByteReader, UNSENT_BYTES_MAX } from "./byte-socket.ts";
import type { LoopMemory } from "./loop-memory.ts";

/** Both directions silent for this long: Envoy's idle_timeout of TCP. A WebSocket that pings lives for ever. */
export const TUNNEL_IDLE_MS = 60 * 60 * 1000;

/** One direction: what `from` reads is written to `to`. */
class Direction implements ByteReader {
	readonly #from: Socket;
	readonly #to: Socket;
	readonly #shared: LoopMemory;
	readonly #idle: Deadline;
	bytes = 0;

	constructor(from: Socket, to: Socket, shared: LoopMemory, idle: Deadline) {
		this.#from = from;
		this.#to = to;
		this.#shared = shared;
		this.#idle = idle;
		to.on("drain", () => from.resume());
		from.on("end", () => to.end());
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		this.#idle.arm(TUNNEL_IDLE_MS);
		this.bytes += to - from;
		// The read buffer is shared and the write may be partial: a view would be overwritten by the next read.
		const part = this.#shared.room(this.#to, to - from);
		buffer.copy(part, 0, from, to);
		this.#shared.write(this.#to, part);
		if (this.#to.writableLength >= UNSENT_BYTES_MAX) this.#from.pause();
	}
}

export interface Tunnel {
	/** Reader for what the client sends. */
	readonly fromClient: ByteReader & { readonly bytes: number };
	/** Reader for what the upstream sends. */
	readonly fromUpstream: ByteReader & { readonly bytes: number };
}

/** `idle` is the deadline that ends both sides when it fires; the caller closes the other socket when one has closed. */
export function openTunnel(client: Socket, upstream: Socket, shared: LoopMemory, idle: Deadline): Tunnel {
	idle.arm(TUNNEL_IDLE_MS);
	return { fromClient: new Direction(client, upstream, shared, idle), fromUpstream: new Direction(upstream, client, shared, idle) };
}
