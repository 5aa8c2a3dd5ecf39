/** Consuming from Nexus and its peers, on raw sockets; from RabbitMQ through its client. */
import { askNexus } from "./launch-nexus.ts";
import { EVENT_TYPE } from "./publish-events.ts";
import { RABBIT_QUEUE } from "./publish-senders.ts";
import { dial, gathered, onLines } from "./sockets.ts";
import { dialWebSocket, TextFrames, textFrame } from "./web-socket.ts";

export interface Receiver {
	close(): void;
}

export interface Receipts {
	/** Bytes that hold events, in order; they may end within one, and are the receiver's again afterwards. */
	readonly received: (bytes: Buffer) => void;
	readonly failed: (cause: Error) => void;
}

/** Resolves when it gets all events that are published from then on. */
export type OpenReceiver = (receipts: Receipts) => Promise<Receiver>;

/** What the consumers of Nexus and RabbitMQ may hold without having answered for it. */
const CREDIT = 512;
// Redis takes no more than it has, and answers at once where there is something.
const XREAD_COUNT = 1000;

/** `after`: a sequence; undefined: from now on. */
export function fromFollower(port: number, after?: number): OpenReceiver {
	return async ({ received, failed }) => {
		const socket = await dial(port);
		const query = `type=${EVENT_TYPE}${after === undefined ? "" : `&after=${after}`}`;
		socket.write(`GET /v1/events/stream?${query} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`);
		const first = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
		if (!first.toString("latin1", 0, 12).startsWith("HTTP/1.1 200")) throw new Error(first.toString("latin1"));
		socket.on("data", received);
		received(first);
		return { close: gathered(socket, failed).close };
	};
}

/** Every event is answered for as soon as it is here. */
export function fromConsumerSocket(port: number): OpenReceiver {
	return async ({ received, failed }) => {
		const name = "bench";
		await askNexus(port, "PUT", `/v1/subscriptions/${name}`, { filter: { type: EVENT_TYPE }, sink: { kind: "pull" }, delivery: { window: CREDIT } });
		const socket = await dialWebSocket(port, `/v1/subscriptions/${name}/socket?credit=${CREDIT}`);
		const { send, close } = gathered(socket, failed);
		const frames = new TextFrames();
		socket.on("data", (chunk: Buffer) => {
			for (const text of frames.push(chunk)) {
				if (text.includes('"problem"')) failed(new Error(text.toString()));
				const tokens = text.toString("latin1").match(/(?<="token":")[^"]+/g);
				if (tokens === null) continue;
				received(text);
				send(textFrame(Buffer.from(JSON.stringify({ ack: tokens }))));
			}
		});
		socket.resume();
		return { close };
	};
}

/** XREAD from the last id on, again and again. */
export function fromRedis(port: number): OpenReceiver {
	return async ({ received, failed }) => {
		const socket = await dial(port);
		const { send, close } = gathered(socket, failed);
		const readFrom = (id: string): void => send(Buffer.from(`XREAD COUNT ${XREAD_COUNT} BLOCK 0 STREAMS events ${id}\r\n`));
		let last = "0-0";
		let isCountNext = false;
		let missing = 0;
		socket.on("data", received);
		onLines(socket, (line) => {
			if (line.startsWith("-")) failed(new Error(line));
			// The name of the stream, the number of its entries, and each entry: an id, and the event under its name.
			else if (line === "events") isCountNext = true;
			else if (isCountNext) {
				isCountNext = false;
				missing = Number(line.slice(1));
			} else if (/^\d+-\d+$/.test(line)) last = line;
			else if (line.startsWith("{") && --missing === 0) readFrom(last);
		});
		readFrom(last);
		return { close };
	};
}

/** A push consumer without acknowledgements: the server sends what it has. */
export function fromNats(port: number): OpenReceiver {
	return async ({ received, failed }) => {
		const socket = await dial(port);
		const { close } = gathered(socket, failed);
		const config = JSON.stringify({
			stream_name: "EVENTS",
			config: { deliver_subject: "delivered", deliver_policy: "new", ack_policy: "none", replay_policy: "instant" },
		});
		const answer = Promise.withResolvers<string>();
		onLines(socket, (line) => {
			if (line === "PING") socket.write("PONG\r\n");
			else if (line.startsWith("-ERR")) failed(new Error(line));
			else if (line.startsWith('{"type"')) answer.resolve(line);
		});
		socket.write(
			`CONNECT {"verbose":false,"pedantic":false}\r\nSUB delivered 1\r\nSUB _INBOX.made 2\r\nPUB $JS.API.CONSUMER.CREATE.EVENTS _INBOX.made ${config.length}\r\n${config}\r\n`,
		);
		const text = await answer.promise;
		if (text.includes('"error"')) throw new Error(text);
		socket.on("data", received);
		return { close };
	};
}

export function fromRabbit(port: number): OpenReceiver {
	return async ({ received, failed }) => {
		const { Connection } = await import("rabbitmq-client");
		const connection = new Connection({ hostname: "127.0.0.1", port });
		connection.on("error", failed);
		const { queue, ...queueOptions } = RABBIT_QUEUE;
		const consumer = connection.createConsumer({ queue, queueOptions, qos: { prefetchCount: CREDIT } }, async ({ body }) => received(body));
		consumer.on("error", failed);
		await new Promise((resolve) => consumer.once("ready", resolve as () => void));
		// Asked in good order it would wait for a server that is being stopped, and call it again for ever.
		return { close: () => connection.unsafeDestroy() };
	};
}
