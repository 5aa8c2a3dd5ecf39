/** A connection that has switched protocols, as the stream that libraries expect. */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { ByteReader } from "../net/byte-socket.ts";
import type { ServerResponse } from "./server-response.ts";

export class SwitchedStream extends Duplex implements ByteReader {
	readonly socket: Socket;

	/** Takes the connection of a request that has not been answered. */
	constructor(res: ServerResponse) {
		super();
		this.socket = res.switchProtocols(this);
		this.socket.on("end", () => this.push(null));
		this.socket.on("close", () => this.destroy());
	}

	/** What is read into is shared by all connections; whoever reads this stream may keep what it gets, and change it. */
	onBytes(buffer: Buffer, from: number, to: number): void {
		if (!this.push(Buffer.from(buffer.subarray(from, to)))) this.socket.pause();
	}

	override _read(): void {
		this.socket.resume();
	}

	override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
		this.socket.write(bytes, done);
	}

	override _final(done: () => void): void {
		this.socket.end(done);
	}

	override _destroy(error: Error | null, done: (error: Error | null) => void): void {
		this.socket.destroy();
		done(error);
	}
}
