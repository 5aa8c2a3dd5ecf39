/** A connection that is ready to be read, with TLS or without: what listeners hand over. */
import type { Socket } from "node:net";
import type { ByteReader } from "./byte-socket.ts";

/** The first byte of every TLS connection: a handshake record (RFC 8446 5.1). No method of HTTP begins with it. */
export const HANDSHAKE_RECORD = 0x16;

export interface ReadyStream<V> {
	readonly socket: Socket;
	/** `undefined`: plain text, of which nobody knows where it comes from. */
	readonly peer: V | undefined;
	/** Once: who gets the bytes, first of all those that have come. */
	readTo(reader: ByteReader): void;
}
