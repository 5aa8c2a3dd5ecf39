/**
 * Sockets that read into one buffer shared by the whole event loop. A read is valid only during the call that hands it over:
 * whoever keeps bytes copies them. Saves about 0.9 us a read against `data` events, which allocate for each.
 */
import { connect, type LookupFunction, Socket } from "node:net";
import type { Address } from "../policy/snapshot.ts";
import type { LoopMemory } from "./loop-memory.ts";

/** TCP keep-alive finds a peer that vanished without a word; 60 s, against 2 hours of the kernel. */
export const KEEP_ALIVE_DELAY_MS = 60_000;

/** What a socket still holds back beyond this makes its writer pause the source. One read may come on top. */
export const UNSENT_BYTES_MAX = 64 * 1024;

/** Receives what a socket has read. `buffer[from, to)` must not be kept. */
export interface ByteReader {
	onBytes(buffer: Buffer, from: number, to: number): void;
}

/** Opens a connection; `reader` gets its bytes. The other events of the socket are the caller's to listen to. */
export function dial(address: Address, shared: LoopMemory, reader: ByteReader, lookup?: LookupFunction): Socket {
	const onread = onRead(shared, reader);
	if (address.kind === "unix") return connect({ path: address.path, allowHalfOpen: true, onread });
	const options = {
		host: address.host,
		port: address.port,
		allowHalfOpen: true,
		noDelay: true,
		keepAlive: true,
		keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
		onread,
	};
	return connect(lookup === undefined ? options : { ...options, lookup });
}

interface HandleOwner {
	_handle: object | null;
}

/**
 * Makes an accepted, paused socket read into the shared buffer. `net.Server` has no option for that, so its handle is moved to a socket
 * that has; where a future Node hides the handle, the socket stays as it is and pays for `data` events (docs/decisions/0002).
 */
export function adopt(accepted: Socket, shared: LoopMemory, reader: ByteReader): Socket {
	const owner = accepted as unknown as HandleOwner;
	const handle = owner._handle;
	if (handle === null || handle === undefined) {
		accepted.on("data", (bytes: Buffer) => reader.onBytes(bytes, 0, bytes.length));
		return accepted;
	}
	owner._handle = null;
	const options = { handle, allowHalfOpen: true, onread: onRead(shared, reader) };
	const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
	// The server's own object has no handle left; ending it takes it off the server's books.
	accepted.destroy();
	// Keep-alive probes, no delay: the options of `createServer` were set on the handle already.
	return socket;
}

function onRead(shared: LoopMemory, reader: ByteReader): { buffer: Uint8Array; callback: (length: number, bytes: Uint8Array) => boolean } {
	return {
		buffer: shared.bytes,
		callback: (length) => {
			reader.onBytes(shared.bytes, 0, length);
			return true;
		},
	};
}
