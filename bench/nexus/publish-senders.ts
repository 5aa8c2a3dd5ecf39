/** Publishing to the peers, in their own protocols on raw sockets; RabbitMQ through its client, as confirms need one. */
import { Message } from "./publish-events.ts";
import type { OpenSender } from "./publish-turn.ts";
import { dial, gathered, onLines } from "./sockets.ts";

/** XADD to one stream; a message of many events is as many commands in one write. */
export function overRedis(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const message = repeated(eventsPerMessage, (json) =>
			Buffer.concat([Buffer.from(`*5\r\n$4\r\nXADD\r\n$6\r\nevents\r\n$1\r\n*\r\n$5\r\nevent\r\n$${json.length}\r\n`), json, Buffer.from("\r\n")]),
		);
		const socket = await dial(port);
		let replies = 0;
		onLines(socket, (line) => {
			// Each reply is a length and an id.
			if (line.startsWith("-")) failed(new Error(line));
			else if (!line.startsWith("$") && ++replies % eventsPerMessage === 0) answered(eventsPerMessage);
		});
		const { send, close } = gathered(socket, failed);
		return { send: () => send(message.next()), close };
	};
}

/** PUB with an inbox for the acknowledgement of JetStream. */
export function overNats(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const inbox = `_INBOX.${Math.random().toString(36).slice(2)}`;
		const message = repeated(eventsPerMessage, (json) =>
			Buffer.concat([Buffer.from(`PUB events ${inbox} ${json.length}\r\n`), json, Buffer.from("\r\n")]),
		);
		const socket = await dial(port);
		socket.write(`CONNECT {"verbose":false,"pedantic":false}\r\nSUB ${inbox} 1\r\n`);
		let acks = 0;
		onLines(socket, (line) => {
			if (line === "PING") socket.write("PONG\r\n");
			else if (line.startsWith('{"stream"')) {
				if (++acks % eventsPerMessage === 0) answered(eventsPerMessage);
			} else if (line.startsWith("-ERR") || line.startsWith('{"error"')) failed(new Error(line));
		});
		const { send, close } = gathered(socket, failed);
		return { send: () => send(message.next()), close };
	};
}

/** The stream that keeps the events on disk. Rejects where the server says no. */
export async function createNatsStream(port: number): Promise<void> {
	const config = JSON.stringify({ name: "EVENTS", subjects: ["events"], storage: "file", retention: "limits", num_replicas: 1 });
	const socket = await dial(port);
	const answer = new Promise<string>((resolve) => onLines(socket, (line) => line.startsWith("{") && resolve(line)));
	socket.write(
		`CONNECT {"verbose":false}\r\nSUB _INBOX.create 1\r\nPUB $JS.API.STREAM.CREATE.EVENTS _INBOX.create ${config.length}\r\n${config}\r\n`,
	);
	const text = await answer;
	socket.destroy();
	if (text.includes('"error"')) throw new Error(text);
}

/** As publisher and consumer declare it. */
export const RABBIT_QUEUE = { queue: "events", durable: true, arguments: { "x-queue-type": "quorum" } } as const;

/** Confirms to a quorum queue. */
export function overRabbit(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const { Connection } = await import("rabbitmq-client");
		const connection = new Connection({ hostname: "127.0.0.1", port });
		connection.on("error", failed);
		const publisher = connection.createPublisher({ confirm: true, queues: [RABBIT_QUEUE] });
		// Declares the queue.
		await publisher.send({ routingKey: RABBIT_QUEUE.queue, durable: true }, Buffer.from("{}"));
		const message = new Message(1, false, (json) => json);
		const once = () => publisher.send({ routingKey: RABBIT_QUEUE.queue, durable: true }, message.next());
		return {
			send: () => void Promise.all(Array.from({ length: eventsPerMessage }, once)).then(() => answered(eventsPerMessage), failed),
			// Asked in good order it would wait for a server that is being stopped, and call it again for ever.
			close: () => connection.unsafeDestroy(),
		};
	};
}

function repeated(events: number, frame: (json: Buffer) => Buffer): Pick<Message, "next"> {
	const one = new Message(1, false, frame);
	return events === 1 ? one : { next: () => Buffer.concat(Array.from({ length: events }, () => one.next())) };
}
