/** Publishing to Nexus over HTTP, and over its WebSocket: clients of our own on raw sockets, so that the load costs less than what it loads. */
import { connect, type Socket } from "node:net";
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../src/events/http-binding.ts";
import { ResponseReader } from "../response-reader.ts";
import { Message } from "./publish-events.ts";
import type { Answers, OpenSender } from "./publish-turn.ts";

const HEAD_END = "\r\n\r\n";

export function overHttp(port: number): OpenSender {
	return async ({ eventsPerMessage, inFlight }, { answered, failed }) => {
		if (inFlight !== 1) throw new Error("HTTP/1.1 has one request in flight on a connection");
		const isBatch = eventsPerMessage > 1;
		const message = new Message(eventsPerMessage, isBatch, (json) => {
			const head = `POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: ${isBatch ? BATCH_TYPE : STRUCTURED_TYPE}\r\ncontent-length: ${json.length}\r\n\r\n`;
			return Buffer.concat([Buffer.from(head), json]);
		});
		const socket = await dial(port);
		const reader = new ResponseReader({ keepBody: true });
		socket.on("data", (chunk: Buffer) => {
			const progress = reader.push(chunk);
			if (progress.kind === "fault") failed(new Error(progress.fault));
			if (progress.kind !== "reply") return;
			const { status, body } = progress.reply;
			const text = body?.toString() ?? "";
			if (status !== 200 || !text.includes(`"accepted":${eventsPerMessage},`)) failed(new Error(`status ${status}: ${text}`));
			else answered(eventsPerMessage);
		});
		return senderOn(socket, message, failed);
	};
}

/** RFC 6455 as far as a client needs it that is never sent anything but short text. */
export function overWebSocket(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const message = new Message(eventsPerMessage, eventsPerMessage > 1, maskedFrame);
		const socket = await dial(port);
		socket.write(
			`GET /v1/events/publish HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
		);
		const head = await new Promise<string>((resolve) => socket.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1"))));
		if (!head.startsWith("HTTP/1.1 101 ") || !head.endsWith(HEAD_END)) throw new Error(`no WebSocket: ${head}`);
		const frames = new TextFrames();
		socket.on("data", (chunk: Buffer) => {
			for (const text of frames.push(chunk)) {
				if (!text.includes(`"accepted":${eventsPerMessage},`)) failed(new Error(text));
				else answered(eventsPerMessage);
			}
		});
		return senderOn(socket, message, failed);
	};
}

function dial(port: number): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = connect({ host: "127.0.0.1", port, noDelay: true });
		socket.once("error", reject);
		socket.once("connect", () => resolve(socket.off("error", reject)));
	});
}

/** What is sent within one turn of the loop leaves in one write. */
export function senderOn(socket: Socket, message: Pick<Message, "next">, failed: Answers["failed"]): { send(): void; close(): void } {
	let isOver = false;
	let waiting: Buffer[] = [];
	socket.on("error", failed);
	socket.on("close", () => {
		if (!isOver) failed(new Error("the connection was closed"));
	});
	return {
		send() {
			if (waiting.push(message.next()) > 1) return;
			setImmediate(() => {
				socket.write(Buffer.concat(waiting));
				waiting = [];
			});
		},
		close() {
			isOver = true;
			socket.resetAndDestroy();
		},
	};
}

/** Masked with zeros: it spares the load a pass over the bytes, and the server none. */
function maskedFrame(json: Buffer): Buffer {
	if (json.length < 126 || json.length > 0xffff) throw new Error(`no frame of ${json.length} bytes is sent here`);
	const head = Buffer.alloc(8);
	head[0] = 0x81;
	head[1] = 0x80 | 126;
	head.writeUInt16BE(json.length, 2);
	return Buffer.concat([head, json]);
}

class TextFrames {
	#rest: Buffer = Buffer.alloc(0);

	*push(chunk: Buffer): Generator<string> {
		let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
		while (bytes.length >= 2) {
			let start = 2;
			let length = (bytes[1] as number) & 0x7f;
			if (length === 126) {
				if (bytes.length < 4) break;
				length = bytes.readUInt16BE(2);
				start = 4;
			}
			if (bytes.length < start + length) break;
			if (bytes[0] !== 0x81) throw new Error(`not a text frame: ${bytes.toString("latin1", 0, start + length)}`);
			yield bytes.toString("latin1", start, start + length);
			bytes = bytes.subarray(start + length);
		}
		this.#rest = bytes;
	}
}
