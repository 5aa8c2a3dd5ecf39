/** RFC 6455 as far as a client needs it that is sent nothing but text. */
import type { Socket } from "node:net";
import { dial } from "./sockets.ts";

const HEAD_END = "\r\n\r\n";
const SHORT_MAX = 125;
const MIDDLE = 126;
const LONG = 127;

/** It is paused. Rejects where the server does not switch. */
export async function dialWebSocket(port: number, path: string): Promise<Socket> {
	const socket = await dial(port);
	socket.write(
		`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
	);
	const head = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
	socket.pause();
	const end = head.indexOf(HEAD_END);
	if (end < 0 || !head.toString("latin1").startsWith("HTTP/1.1 101 ")) throw new Error(`no WebSocket: ${head.toString("latin1")}`);
	const frames = head.subarray(end + HEAD_END.length);
	if (frames.length > 0) socket.unshift(frames);
	return socket;
}

/** Masked with zeros: it spares the load a pass over the bytes, and the server none. */
export function textFrame(text: Buffer): Buffer {
	if (text.length > 0xffff) throw new Error(`no frame of ${text.length} bytes is sent here`);
	const head = Buffer.alloc(text.length > SHORT_MAX ? 8 : 6);
	head[0] = 0x81;
	head[1] = 0x80 | (text.length > SHORT_MAX ? MIDDLE : text.length);
	if (text.length > SHORT_MAX) head.writeUInt16BE(text.length, 2);
	return Buffer.concat([head, text]);
}

export class TextFrames {
	#rest: Buffer = Buffer.alloc(0);

	/** The texts that are whole now. Throws for what is no text frame. */
	*push(chunk: Buffer): Generator<Buffer> {
		let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
		while (bytes.length >= 2) {
			let start = 2;
			let length = (bytes[1] as number) & 0x7f;
			if (length >= MIDDLE) {
				start = length === LONG ? 10 : 4;
				if (bytes.length < start) break;
				length = start === 10 ? Number(bytes.readBigUInt64BE(2)) : bytes.readUInt16BE(2);
			}
			if (bytes.length < start + length) break;
			if (bytes[0] !== 0x81) throw new Error(`not a text frame: ${bytes.toString("latin1", 0, start + length)}`);
			yield bytes.subarray(start, start + length);
			bytes = bytes.subarray(start + length);
		}
		this.#rest = Buffer.from(bytes);
	}
}
