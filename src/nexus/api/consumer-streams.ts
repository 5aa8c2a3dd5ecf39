/** The two ways in which consumers are sent events over a connection that stays: server-sent events, and a WebSocket that answers as well. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { SseStream, sseFrame } from "../../server/sse.ts";
import { openWebSocket, type TextSocket } from "../../server/web-socket.ts";
import type { Access } from "../access/access.ts";
import type { OpenStreams } from "../access/open-streams.ts";
import { ConsumerStream } from "../subscriptions/consumer-stream.ts";
import type { Consumers } from "../subscriptions/consumers.ts";
import { WINDOW_BYTES_MAX } from "../subscriptions/limits.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import { answersOf, consumersOf, TOO_MANY, takenJson } from "./consumer-routes.ts";
import { failure, type NexusContext, problemResponse, type Routes } from "./route.ts";
import { nameOf } from "./subscription-routes.ts";
import { ackRequest, consumeQuery, drainRequest, nameParam } from "./subscription-schemas.ts";

export interface ConsumerStreamsOptions {
	readonly subscriptions: Subscriptions;
	readonly clock: Clock;
	readonly access: Access;
	readonly openStreams: OpenStreams;
}

/** Answers for a full window of events. */
const MESSAGE_BYTES_MAX = 64 * 1024;
/** What waits for a slow consumer, beyond which it is sent no more. */
const UNSENT_BYTES_MAX = 256 * 1024;
/** Answers to some thousand messages; more than a socket takes without a word when it has caught up. */
const ANSWER_BYTES_MAX = 256 * 1024;
// RFC 6455 section 7.4.
const GOING_AWAY = 1001;
const NOT_UNDERSTOOD = 1007;
const REFUSED = 1008;

export function addConsumerStreams(routes: Routes, options: ConsumerStreamsOptions): void {
	const { subscriptions, clock } = options;

	routes.query(streamRoute, "read", consumeQuery, (c, { credit }) => {
		const found = consumersOf(subscriptions, nameOf(c));
		if ("response" in found) return found.response;
		if (c.req.method === "HEAD") return new Response(null, { headers: { "content-type": "text/event-stream" } });
		if (found.consumers.isFull) return problemResponse(TOO_MANY, { "retry-after": "1" });
		// What it is sent at once is bounded by its credit, and by the bytes of all windows: nobody is cut off for having been given it.
		const stream = SseStream.open(c.env.res, { clock, bufferBytesMax: WINDOW_BYTES_MAX });
		const consumer = new ConsumerStream({
			consumers: found.consumers,
			credit: Number(credit),
			isReady: () => stream.isReady,
			send: (taken) => {
				for (const one of taken) stream.sendFrame(sseFrame({ data: takenJson(one) }));
			},
		});
		const forget = keepOpen(c, options, found.consumers, () => stream.close());
		stream.onDrain(() => consumer.look());
		stream.onClose(() => {
			forget();
			consumer.close();
		});
		consumer.start();
		return new Response(null); // the stream is the answer
	});

	routes.query(socketRoute, "read", consumeQuery, (c, { credit }) => {
		const found = consumersOf(subscriptions, nameOf(c));
		if ("response" in found) return found.response;
		if (found.consumers.isFull) return problemResponse(TOO_MANY, { "retry-after": "1" });
		let consumer: ConsumerStream | undefined;
		let forget = (): void => {};
		let message = 0;
		let answers: Answers | undefined;
		const opened = openWebSocket(c.env.req, c.env.res, {
			messageBytesMax: MESSAGE_BYTES_MAX,
			protocols: [],
			onMessage: (bytes) => void answer(found.consumers, consumer, answers, bytes, ++message),
			onDrain() {
				answers?.drained();
				consumer?.look();
			},
			onClose() {
				forget();
				consumer?.close();
			},
		});
		if (!opened.ok) return problemResponse(opened.problem, opened.headers);
		c.env.isTaken = true;
		const { socket } = opened;
		answers = new Answers(socket);
		consumer = new ConsumerStream({
			consumers: found.consumers,
			credit: Number(credit),
			isReady: () => socket.isOpen && socket.unsentBytes < UNSENT_BYTES_MAX,
			send: (taken) => socket.send(`{"deliveries":[${taken.map(takenJson).join(",")}]}`),
		});
		forget = keepOpen(c, options, found.consumers, () => socket.close(GOING_AWAY, "come again"));
		if (!consumer.start()) socket.close(REFUSED, "too many consumers");
		return new Response(null);
	});
}

/** Until Nexus stops, the subscription does, or the caller has the right no more. */
function keepOpen(
	c: NexusContext,
	{ subscriptions, openStreams, access }: ConsumerStreamsOptions,
	consumers: Consumers,
	end: () => void,
): () => void {
	const { req } = c.env;
	const forgetRight = openStreams.add({ mayGoOn: () => access.admit(req, "read").ok, end });
	const forgetWait = subscriptions.waits.add(end);
	const forgetEnd = consumers.onEnd(end);
	return () => {
		forgetRight();
		forgetWait();
		forgetEnd();
	};
}

/** What a consumer is answered. Who sends and does not read is not read either, once so much waits for it; what it is given waits beside that. */
class Answers {
	readonly socket: TextSocket;
	/** Since it has caught up last. */
	#bytes = 0;
	#isPaused = false;

	constructor(socket: TextSocket) {
		this.socket = socket;
	}

	send(text: string): void {
		if (this.socket.unsentBytes === 0) this.#bytes = 0;
		this.socket.send(text);
		this.#bytes += text.length;
		// Only where as much waits indeed is there a word when it has left.
		if (this.#isPaused || Math.min(this.#bytes, this.socket.unsentBytes) < ANSWER_BYTES_MAX) return;
		this.#isPaused = true;
		this.socket.pause();
	}

	drained(): void {
		this.#bytes = 0;
		if (!this.#isPaused) return;
		this.#isPaused = false;
		this.socket.resume();
	}
}

/** `message`: its number on this connection, from 1. */
async function answer(
	consumers: Consumers,
	consumer: ConsumerStream | undefined,
	answers: Answers | undefined,
	bytes: Buffer,
	message: number,
): Promise<void> {
	let given: unknown;
	try {
		given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
	} catch (thrown) {
		answers?.socket.close(NOT_UNDERSTOOD, `message ${message} is no JSON: ${messageOf(thrown)}`.slice(0, 100));
		return;
	}
	const checked = ackRequest.safeParse(given);
	if (!checked.success) {
		if (drainRequest.safeParse(given).success) {
			consumer?.drain();
			answers?.send(JSON.stringify({ message, settled: 0, unknown: [] }));
			return;
		}
		const [issue] = checked.error.issues;
		answers?.send(JSON.stringify({ message, problem: `${issue?.path.join(".")} ${issue?.message}` }));
		return;
	}
	const { settled, unknown, isDurable } = await consumers.answer(answersOf(checked.data));
	answers?.send(JSON.stringify({ message, settled, unknown, ...(isDurable ? {} : { problem: "it was not written down" }) }));
}

const refusals = {
	400: failure("The query is not valid."),
	404: failure("There is none of this name."),
	409: failure("It does not run, or is pushed to its sink."),
	429: failure("Too many take already."),
	503: failure("Another node takes it over: come again."),
};

const streamRoute: RouteConfig = {
	method: "get",
	path: "/v1/subscriptions/{name}/stream",
	summary: "Be sent events",
	description:
		"Server-sent events, each `data` a delivery as `fetch` gives it. Answers go to `ack`; as many events are under way as `credit` says. Those that were not answered for when the stream ends come again.",
	request: { params: nameParam, query: consumeQuery },
	responses: { 200: { description: "The stream.", content: { "text/event-stream": { schema: { type: "string" } } } }, ...refusals },
};

const socketRoute: RouteConfig = {
	method: "get",
	path: "/v1/subscriptions/{name}/socket",
	summary: "Be sent events, and answer, over a WebSocket",
	description:
		"Messages to the consumer: `{deliveries: [...]}` as `fetch` gives them. Messages from it: bodies as `ack` takes them; each is answered by `{message, settled, unknown}` once it is written down, where `message` is its number on this connection, from 1. After `{drain: true}` it is given no more events, and may still answer for those that it has.",
	request: { params: nameParam, query: consumeQuery },
	responses: { 101: { description: "The WebSocket is open." }, ...refusals, 426: failure("This is served over a WebSocket only.") },
};
