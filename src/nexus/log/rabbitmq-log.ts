/**
 * The event log on a RabbitMQ stream. A stream does not sync, so events go to a quorum queue first, which does (rabbitmq-quorum.ts). A confirm names
 * no offset, so each append waits until its events come by at the end of the stream, which this node follows; and nothing says where a stream
 * ends, so a mark of our own is written where that must be known.
 */
import { randomUUID } from "node:crypto";
import type { AsyncMessage, Channel, Connection, Envelope } from "rabbitmq-client";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { SecretSource } from "../config/secret-source.ts";
import { connectFault, type EngineTls, urlAccess } from "../engines/engine-tls.ts";
import {
	APPEND_TIMEOUT_MS,
	type Bounds,
	type Broker,
	type BrokerAppend,
	type BrokerEvent,
	NEXT_WAIT_MS,
	type Next,
	READ_TIMEOUT_MS,
	within,
} from "./broker.ts";
import { BrokerLink } from "./broker-link.ts";
import { openBrokerLog } from "./broker-log.ts";
import { BACKENDS } from "./capabilities.ts";
import type { EventLog, RetentionLimits, StoredEvent } from "./event-log.ts";
import { QuorumTail } from "./rabbitmq-quorum.ts";
import { repairStream } from "./rabbitmq-repair.ts";
import { declareStream, findEnd, PREFETCH, placeOf, readStream, type StreamOffset, TIME_HEADER, TOKEN_HEADER, tokenOf } from "./rabbitmq-stream.ts";

export interface RabbitmqLogConfig {
	/** `amqp://` or `amqps://`; may hold credentials, and stands in no error. */
	readonly url: string | SecretSource;
	/** With `amqps://` alone; undefined: the roots of this machine. */
	readonly tls?: EngineTls;
	/** Name of the stream queue; made where it is missing, with the log's retention by size and age, else used as it is. */
	readonly queue: string;
}

export interface RabbitmqLogOptions extends RabbitmqLogConfig {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
}

/** Acknowledging every message costs a frame each; this is far below what is let under way. */
const ACK_EVERY = PREFETCH / 4;

/** Rejects with a readable error where the server cannot be reached or the queue is no stream. */
export async function openRabbitmqLog(options: RabbitmqLogOptions): Promise<EventLog> {
	const { clock, log, retention } = options;
	return openBrokerLog({ broker: new RabbitmqBroker(options), clock, log, dedupesHere: true, ...(retention && { retention }) });
}

const FULL: BrokerAppend = Object.freeze({
	ok: false,
	failure: "full",
	detail: "the quorum queue beside the stream is full; what stands in it is let go a minute or two later",
});

interface Session {
	readonly connection: Connection;
	readonly publisher: Channel;
	readonly quorum: QuorumTail;
}

interface Tail {
	readonly session: Session;
	readonly channel: Channel;
	/** Everything up to here was handed out, and what came since. */
	position: number;
	events: StoredEvent[];
	cut: number | undefined;
	seen: number;
}

class RabbitmqBroker implements Broker {
	readonly capabilities = BACKENDS.rabbitmq;
	readonly #queue: string;
	readonly #clock: Clock;
	readonly #link: BrokerLink<Session>;
	/** Of this opening: tells its own messages from those of another node. */
	readonly #name = randomUUID();
	#published = 0;
	/** Waits for the offset of a message of ours, by its token. */
	readonly #expected = new Map<string, (sequence: number) => void>();
	#tail: Tail | undefined;
	#wake: (() => void) | undefined;
	/** The newest sequence that was ever seen: a read beyond it would wait for what is not there. */
	#newest = 0;

	constructor(options: RabbitmqLogOptions) {
		this.#queue = options.queue;
		this.#clock = options.clock;
		this.#link = new BrokerLink<Session>(
			(lost) =>
				connect(options, () => {
					lost();
					this.#endTail();
				}),
			async ({ connection, quorum }) => {
				quorum.end();
				connection.unsafeDestroy();
			},
		);
	}

	async append(events: readonly BrokerEvent[], receivedAtMs: number): Promise<BrokerAppend> {
		try {
			const sequences = events.map(() => 0);
			const { publisher, quorum } = await this.#link.get();
			const number = this.#published;
			this.#published += events.length;
			// Not both at once: what can be read would not be on the disk where the broker ends in between, and pass for a duplicate that is.
			if ((await quorum.put({ publisher: this.#name, number, after: this.#newest, receivedAtMs, events })) === "full") return FULL;
			const stored = events.map(async ({ json }, i) => {
				const token = tokenOf(this.#name, number + i);
				const seen = new Promise<number>((resolve) => this.#expected.set(token, resolve));
				try {
					await this.#publish(publisher, { headers: { [TOKEN_HEADER]: token, [TIME_HEADER]: receivedAtMs } }, json);
					sequences[i] = await within(this.#clock, APPEND_TIMEOUT_MS, "the end of the stream", seen);
				} finally {
					this.#expected.delete(token);
				}
			});
			await Promise.all(stored);
			return { ok: true, receipts: sequences.map((sequence) => ({ sequence, isDuplicate: false })) };
		} catch (thrown) {
			return { ok: false, failure: "unavailable", detail: messageOf(thrown) };
		}
	}

	async fetch(first: number, count: number): Promise<readonly StoredEvent[]> {
		const { connection } = await this.#link.get();
		const events: StoredEvent[] = [];
		for (let from = first; events.length === 0 && from <= this.#newest; ) {
			await this.#read(connection, from - 1, Math.min(count, PREFETCH), (message) => {
				const { sequence, event } = placeOf(message);
				from = sequence + 1;
				if (event !== undefined && sequence >= first) events.push(event);
				return sequence >= this.#newest;
			});
		}
		return events;
	}

	async next(after: number): Promise<Next> {
		const session = await this.#link.get();
		if (this.#tail?.session !== session || this.#tail.position !== after) await this.#startTail(session, after);
		const tail = this.#tail as unknown as Tail;
		if (tail.seen === tail.position) {
			await new Promise<void>((resolve) => {
				const timer = this.#clock.setTimer(NEXT_WAIT_MS, resolve);
				this.#wake = () => {
					timer.cancel();
					resolve();
				};
			});
		}
		if (this.#tail !== tail) throw new Error("the connection to RabbitMQ was lost");
		const { events, seen, cut } = tail;
		tail.events = [];
		tail.cut = undefined;
		tail.position = seen;
		return { events, position: seen, cut };
	}

	/** Writes a mark, which comes by at the end, and reads from the beginning. */
	async bounds(): Promise<Bounds> {
		const { connection, publisher } = await this.#link.get();
		const mark = (headers: Record<string, string>): Promise<void> => this.#publish(publisher, { headers }, Buffer.alloc(0));
		const last = await within(this.#clock, READ_TIMEOUT_MS, "reading the end of the stream", findEnd(connection, this.#queue, mark));
		let first = last;
		await this.#read(connection, "first", 1, (message) => {
			first = placeOf(message).sequence;
			return true;
		});
		this.#newest = Math.max(this.#newest, last);
		return { first, last, bytes: undefined };
	}

	/** A stream finds the time of its pieces, not of the events, which may be those of another log: the beginning is always right. */
	async sequenceAt(): Promise<number | undefined> {
		return 1;
	}

	removeBefore(): Promise<void> {
		return Promise.reject(new Error("a stream is cut by the limits that it was declared with"));
	}

	async close(): Promise<void> {
		this.#endTail();
		await this.#link.close();
	}

	#publish(publisher: Channel, envelope: Envelope, body: Buffer): Promise<void> {
		return within(this.#clock, APPEND_TIMEOUT_MS, "a confirm", publisher.basicPublish({ routingKey: this.#queue, durable: true, ...envelope }, body));
	}

	#read(connection: Connection, offset: StreamOffset, count: number, visit: (message: AsyncMessage) => boolean): Promise<void> {
		return within(this.#clock, READ_TIMEOUT_MS, "reading the stream", readStream(connection, this.#queue, offset, count, visit));
	}

	async #startTail(session: Session, after: number): Promise<void> {
		await this.#tail?.channel.close().catch(() => {});
		this.#tail = undefined;
		const channel = await session.connection.acquire();
		const tail: Tail = { session, channel, position: after, events: [], cut: undefined, seen: after };
		this.#tail = tail;
		// Somebody has removed the stream.
		channel.once("basic.cancel", () => {
			if (this.#tail !== tail) return;
			this.#link.drop();
			this.#endTail();
		});
		let unacknowledged = 0;
		await channel.basicQos({ prefetchCount: PREFETCH });
		await channel.basicConsume({ queue: this.#queue, arguments: { "x-stream-offset": after } }, (message) => {
			if (++unacknowledged >= ACK_EVERY) {
				unacknowledged = 0;
				channel.basicAck({ deliveryTag: message.deliveryTag, multiple: true });
			}
			this.#see(tail, message);
		});
	}

	#see(tail: Tail, message: AsyncMessage): void {
		const { sequence, event, token, cut } = placeOf(message);
		if (sequence <= tail.seen) return;
		tail.cut ??= cut;
		tail.seen = sequence;
		this.#newest = Math.max(this.#newest, sequence);
		if (event !== undefined) tail.events.push(event);
		if (token !== undefined) this.#expected.get(token)?.(sequence);
		this.#wake?.();
	}

	#endTail(): void {
		this.#tail = undefined;
		this.#wake?.();
	}
}

async function connect(options: RabbitmqLogOptions, lost: () => void): Promise<Session> {
	const { queue, clock, log, retention } = options;
	const { Connection } = await import("rabbitmq-client");
	const { url, host, tls } = urlAccess(options, "amqp:", "amqps:");
	const connection = new Connection({
		url,
		...(tls === undefined ? {} : { tls }),
		connectionName: "nexus log",
		acquireTimeout: READ_TIMEOUT_MS,
		connectionTimeout: READ_TIMEOUT_MS,
		heartbeat: 10,
	});
	// The first failure speaks for all: connecting again is done above, where it is known what must be asked again.
	const { promise: failed, reject } = Promise.withResolvers<never>();
	failed.catch(() => {});
	connection.on("error", (error) => {
		reject(error);
		lost();
	});
	connection.on("connection.blocked", (reason) => {
		reject(new Error(`RabbitMQ takes nothing: ${reason}`));
		lost();
	});
	try {
		await within(clock, READ_TIMEOUT_MS, "connecting to RabbitMQ", Promise.race([connection.onConnect(READ_TIMEOUT_MS), failed]));
		const isStreamNew = await Promise.race([declareStream(connection, queue, retention), failed]);
		const publisher = await connection.acquire();
		await publisher.confirmSelect();
		const tail = QuorumTail.open({
			connection,
			queue,
			isStreamNew,
			clock,
			repair: () => repairStream({ connection, publisher, queue, clock, log }),
			lost(cause) {
				log.error("events cannot be kept in the quorum queue; connecting again", { error: messageOf(cause) });
				lost();
			},
		});
		const quorum = await Promise.race([tail, failed]);
		return { connection, publisher, quorum };
	} catch (thrown) {
		connection.unsafeDestroy();
		throw new Error(`RabbitMQ at ${host}: ${connectFault(thrown, tls !== undefined)}`, { cause: thrown });
	}
}
