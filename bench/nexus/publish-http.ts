/** Publishing to Nexus over HTTP, and over its WebSocket: clients of our own on raw sockets, so that the load costs less than what it loads. */
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../src/events/http-binding.ts";
import { ResponseReader } from "../response-reader.ts";
import { Message } from "./publish-events.ts";
import type { OpenSender } from "./publish-turn.ts";
import { dial, gathered } from "./sockets.ts";
import { dialWebSocket, TextFrames, textFrame } from "./web-socket.ts";

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
		const { send, close } = gathered(socket, failed);
		return { send: () => send(message.next()), close };
	};
}

export function overWebSocket(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const message = new Message(eventsPerMessage, eventsPerMessage > 1, textFrame);
		const socket = await dialWebSocket(port, "/v1/events/publish");
		const frames = new TextFrames();
		socket.on("data", (chunk: Buffer) => {
			for (const text of frames.push(chunk)) {
				if (!text.includes(`"accepted":${eventsPerMessage},`)) failed(new Error(text.toString()));
				else answered(eventsPerMessage);
			}
		});
		socket.resume();
		const { send, close } = gathered(socket, failed);
		return { send: () => send(message.next()), close };
	};
}
