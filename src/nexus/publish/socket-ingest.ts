/**
 * GET /v1/events/publish: a WebSocket that stays open for a producer. Each message is an event or a JSON array of them, and is acknowledged by number once it
 * is durable. Who sends faster than the disk takes is not read until it has.
 */
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { parseMessage } from "../../events/http-binding.ts";
import { sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";
import { openWebSocket, type TextSocket } from "../../server/web-socket.ts";
import type { OpenStreams } from "../access/open-streams.ts";
import type { PublishScope } from "../access/publish-scope.ts";
import { BODY_BYTES_MAX } from "../limits.ts";
import { failureProblem, publishedMembers, unreadable } from "./answer.ts";
import { EVENT_BYTES, SOCKET_BYTES_MAX, SOCKET_MESSAGES_MAX, SOCKET_UNSENT_BYTES_MAX } from "./limits.ts";
import type { Publisher, Way } from "./publisher.ts";

export interface SocketIngestOptions {
	readonly publisher: Publisher;
	readonly openStreams: OpenStreams;
	readonly logger: Logger;
	/** Of one event. */
	readonly eventBytesMax?: number;
}

/** As the WebSocket binding of CloudEvents names it (section 4.1); a message may be a batch here as well. */
const PROTOCOL = "cloudevents.json";
// RFC 6455 section 7.4.1.
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;
// What was read is taken: at most one read of 64 KiB comes on top of the bounds.
const FIRST: Way = Object.freeze({ isAdmitted: true, isBehindOthers: false });
const BEHIND: Way = Object.freeze({ isAdmitted: true, isBehindOthers: true });

export class SocketIngest {
	readonly #options: SocketIngestOptions;
	readonly #producers = new Set<Producer>();
	#messages = 0;

	constructor(options: SocketIngestOptions) {
		this.#options = options;
	}

	get counts(): { readonly producers: number; readonly messages: number } {
		return { producers: this.#producers.size, messages: this.#messages };
	}

	/** The caller may publish, what `scope` allows (undefined: everything); `mayGoOn` asks that again later. */
	handle(req: ServerRequest, res: ServerResponse, mayGoOn: () => boolean, scope?: PublishScope): void {
		const opened = openWebSocket(req, res, {
			messageBytesMax: BODY_BYTES_MAX,
			protocols: [PROTOCOL],
			onMessage: (bytes) => {
				this.#messages++;
				producer.take(bytes);
			},
			onDrain: () => producer.goOn(),
			onClose: () => {
				this.#producers.delete(producer);
				forget();
				producer.closed();
			},
		});
		if (!opened.ok) {
			sendProblem(res, opened.problem, opened.headers);
			return;
		}
		const { publisher, openStreams, logger, eventBytesMax = EVENT_BYTES } = this.#options;
		const producer = new Producer(opened.socket, publisher, eventBytesMax, logger, scope);
		this.#producers.add(producer);
		const forget = openStreams.add({ mayGoOn, end: () => opened.socket.close(POLICY_VIOLATION, "the right to publish has ended") });
	}

	/** Reads nothing more, sends the acknowledgements of what was read, and says goodbye. */
	async close(): Promise<void> {
		await Promise.all([...this.#producers].map((producer) => producer.drain()));
	}
}

class Producer {
	readonly #socket: TextSocket;
	readonly #publisher: Publisher;
	readonly #eventBytesMax: number;
	readonly #logger: Logger;
	readonly #scope: PublishScope | undefined;
	/** Messages so far; the first is 1. */
	#received = 0;
	#inFlight = 0;
	#inFlightBytes = 0;
	#isPaused = false;
	#stopWaiting: (() => void) | undefined;
	#onSettled: (() => void) | undefined;

	constructor(socket: TextSocket, publisher: Publisher, eventBytesMax: number, logger: Logger, scope: PublishScope | undefined) {
		this.#socket = socket;
		this.#scope = scope;
		this.#logger = logger;
		this.#publisher = publisher;
		this.#eventBytesMax = eventBytesMax;
	}

	take(bytes: Buffer): void {
		// Not acknowledged, so it will be sent again, to whoever comes after this Nexus.
		if (this.#onSettled !== undefined) return;
		const number = ++this.#received;
		const parsed = parseMessage(bytes, this.#eventBytesMax);
		if (!parsed.ok) {
			this.#socket.send(problemText(number, unreadable(parsed.status, parsed.reason)));
			this.#pauseIfFull();
			return;
		}
		const { inFlight } = this.#publisher;
		const { length } = bytes;
		inFlight.take(length, 0);
		// What came before on this connection comes before in the log.
		const members = this.#scope === undefined ? parsed.members : this.#scope.narrow(parsed.members).members;
		const publishing = this.#publisher.publish({ bytes: parsed.bytes, members }, this.#inFlight === 0 ? FIRST : BEHIND);
		this.#inFlight++;
		this.#inFlightBytes += length;
		publishing.then(
			(outcome) => {
				this.#socket.send(outcome.ok ? `{"message":${number},${publishedMembers(outcome)}}` : problemText(number, failureProblem(outcome)));
				this.#settled(length);
			},
			(thrown: unknown) => {
				this.#logger.error("a message of a producer failed; its connection was cut", { error: messageOf(thrown) });
				this.#settled(length);
				this.#socket.destroy();
			},
		);
		this.#pauseIfFull();
	}

	/** Something may be over that it waited for. */
	goOn(): void {
		if (!this.#isPaused || this.#isFull || this.#stopWaiting !== undefined) return;
		this.#isPaused = false;
		this.#socket.resume();
	}

	closed(): void {
		this.#stopWaiting?.();
		this.#stopWaiting = undefined;
		this.#endDrain();
	}

	drain(): Promise<void> {
		return new Promise((resolve) => {
			this.#onSettled = resolve;
			this.#endDrain();
		});
	}

	get #isFull(): boolean {
		return this.#inFlight >= SOCKET_MESSAGES_MAX || this.#inFlightBytes >= SOCKET_BYTES_MAX || this.#socket.unsentBytes >= SOCKET_UNSENT_BYTES_MAX;
	}

	#pauseIfFull(): void {
		const { inFlight } = this.#publisher;
		const isShort = inFlight.isShort;
		if (this.#isPaused || !(isShort || this.#isFull)) return;
		this.#isPaused = true;
		this.#socket.pause();
		if (isShort) {
			this.#stopWaiting = inFlight.onRoom(() => {
				this.#stopWaiting = undefined;
				this.goOn();
			});
		}
	}

	#settled(bytes: number): void {
		this.#inFlight--;
		this.#inFlightBytes -= bytes;
		this.#publisher.inFlight.giveBack(bytes, 0);
		if (this.#isPaused) this.goOn();
		if (this.#onSettled !== undefined) this.#endDrain();
	}

	#endDrain(): void {
		if (this.#inFlight > 0 || this.#onSettled === undefined) return;
		this.#socket.close(GOING_AWAY, "Nexus is shutting down");
		this.#onSettled();
	}
}

function problemText(message: number, problem: object): string {
	return JSON.stringify({ message, problem });
}
