/**
 * What a socket over TLS needs to read like one without: OpenSSL hands over all records of one read of the system, one after the other,
 * and the end behind them, whether or not the reader has asked for a pause in between. Here they wait.
 */
import type { Socket } from "node:net";
import { TLSSocket, type TLSSocketOptions } from "node:tls";
import type { ByteReader } from "./byte-socket.ts";
import type { LoopMemory } from "./loop-memory.ts";

interface ResettableHandle {
	reset?: (done: () => void) => number;
}

/** Node's insides that have no public name. Each is looked for, and done without where it is gone. */
interface Insides {
	_handle: ({ _parent?: ResettableHandle; receive?: (bytes: Buffer) => void } & ResettableHandle) | null;
	_reset?: () => void;
	_wrapHandle?: (wrap: null, handle: object | undefined, busy: boolean) => object;
}

export class TlsStream {
	readonly #shared: LoopMemory;
	#socket: Socket | undefined;
	#reader: ByteReader | undefined;
	/** At most what one read of the system has brought, 64 KiB. */
	#held: Buffer[] = [];
	#endHeld = false;
	/** For the options of the socket. */
	readonly onread: { readonly buffer: Uint8Array; readonly callback: (length: number) => boolean };

	constructor(shared: LoopMemory) {
		this.#shared = shared;
		this.onread = {
			buffer: shared.bytes,
			callback: (length) => {
				this.onBytes(shared.bytes, 0, length);
				return true;
			},
		};
	}

	/** Once, right after the socket was made. */
	attach(socket: TLSSocket): void {
		this.#socket = socket;
		socket.on("resume", () => this.#release());
		socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
			if (chunk !== null || !this.#waits()) return TLSSocket.prototype.push.call(socket, chunk, encoding);
			this.#endHeld = true;
			return false;
		};
		socket.resetAndDestroy = () => resetAndDestroy(socket);
	}

	/** From now on `reader` gets the bytes: at once what has come already, unless the socket is paused. */
	readTo(reader: ByteReader): void {
		this.#reader = reader;
		if (this.#held.length > 0) this.#release();
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		if (this.#waits() || this.#reader === undefined) this.#held.push(Buffer.from(buffer === this.#shared.bytes ? buffer.subarray(from, to) : buffer));
		else this.#reader.onBytes(buffer, from, to);
	}

	#waits(): boolean {
		return this.#held.length > 0 || this.#socket?.isPaused() === true;
	}

	#release(): void {
		const socket = this.#socket as Socket;
		const reader = this.#reader;
		if (reader === undefined) return;
		while (this.#held.length > 0 && !socket.isPaused() && !socket.destroyed) {
			const [part, ...rest] = this.#held as [Buffer, ...Buffer[]];
			this.#held = rest;
			reader.onBytes(part, 0, part.length);
		}
		if (this.#endHeld && !this.#waits()) {
			this.#endHeld = false;
			socket.push(null);
			socket.read(0);
		}
	}
}

/** As a socket without TLS does it: by a reset of TCP. Node's own refuses a handle that is not TCP's. */
function resetAndDestroy(socket: TLSSocket): TLSSocket {
	const insides = socket as unknown as Insides;
	const handle = insides._handle;
	const tcp = handle?._parent;
	if (handle === null || tcp?.reset === undefined || insides._reset === undefined) return socket.destroy() as TLSSocket;
	handle.reset = (done) => tcp.reset?.(done) ?? 0;
	insides._reset();
	return socket;
}

/**
 * TLS on an accepted socket, reading into the shared buffer. `early` was read from it already. As with `adopt`, the handle is moved
 * (docs/decisions/0002): that saves a second socket for each connection, and about 1 us a read. Where Node hides it, TLS runs on the socket as it is.
 */
export function overAccepted(accepted: Socket, stream: TlsStream, early: Buffer | undefined, options: TLSSocketOptions): TLSSocket {
	const owner = accepted as unknown as Insides;
	const handle = owner._handle;
	if (handle === null || handle === undefined || (TLSSocket.prototype as unknown as Insides)._wrapHandle === undefined) {
		accepted.removeAllListeners("data");
		if (early !== undefined) accepted.unshift(early);
		const socket = new TLSSocket(accepted, options);
		// It was accepted, so it is connected; Node would conclude from the missing handle that it is not.
		(socket as { connecting: boolean }).connecting = false;
		socket.on("data", (bytes: Buffer) => stream.onBytes(bytes, 0, bytes.length));
		stream.attach(socket);
		return socket;
	}
	owner._handle = null;
	const socket = new OverHandle(handle, { ...options, allowHalfOpen: true, onread: stream.onread } as TLSSocketOptions);
	accepted.destroy(); // it has no handle left; that takes it off the server's books
	stream.attach(socket);
	if (early !== undefined) (socket as unknown as { _handle: Insides["_handle"] })._handle?.receive?.(early);
	return socket;
}

/** Node's TLSSocket makes its handle itself, unless it wraps a socket; then it cannot read into a buffer that it is given. */
class OverHandle extends TLSSocket {
	constructor(handle: object, options: TLSSocketOptions) {
		super(undefined as unknown as Socket, { ...options, handle } as TLSSocketOptions);
		(this as { connecting: boolean }).connecting = false;
	}

	/** Called by Node's constructor, before ours goes on. */
	_wrapHandle(_wrap: null, made: object | undefined): object {
		const { handle } = (this as unknown as { _tlsOptions: { handle: object } })._tlsOptions;
		return (TLSSocket.prototype as unknown as Required<Insides>)._wrapHandle.call(this, null, made ?? handle, false);
	}
}
