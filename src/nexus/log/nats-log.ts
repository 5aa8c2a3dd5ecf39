/** The event log on a JetStream stream. The server orders, numbers and recognises duplicates (Nats-Msg-Id); nothing of that is done twice. */
import type { ConsumerMessages, JetStreamClient, JetStreamManager, JsMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
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
import type { LogCapabilities } from "./capabilities.ts";
import type { EventLog, RetentionLimits, StoredEvent } from "./event-log.ts";
import { connectNats } from "./nats-access.ts";
import { capabilitiesOf, ensureStream, type NatsStream, subjectOf } from "./nats-stream.ts";

export interface NatsLogOptions extends NatsStream {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
}

const NS_PER_MS = 1_000_000;
const FLUSH_TIMEOUT_MS = 1_000;
const TAIL_MESSAGES = 1024;
// https://github.com/nats-io/nats-server/blob/main/server/errors.json
const NO_ROOM = new Set([10023, 10047, 10077, 10122]);

/** Rejects with a readable error where no server can be reached or the stream cannot be had. */
export async function openNatsLog(options: NatsLogOptions): Promise<EventLog> {
	const { clock, log, retention } = options;
	const broker = await NatsBroker.open(options);
	return openBrokerLog({ broker, clock, log, dedupesHere: false, ...(retention && { retention }) });
}

/** Of a message beside its event, which count as payload: one header with its identity. */
const HEADER_BYTES = 256;

interface Session {
	readonly connection: NatsConnection;
	readonly client: JetStreamClient;
	readonly manager: JetStreamManager;
}

/** The consumer that follows the end of the stream; what it brings waits in `queue`. */
interface Tail {
	readonly session: Session;
	position: number;
	queue: StoredEvent[];
	readonly messages: ConsumerMessages;
}

class NatsBroker implements Broker {
	readonly capabilities: LogCapabilities;
	readonly #stream: string;
	readonly #clock: Clock;
	readonly #link: BrokerLink<Session>;
	#tail: Tail | undefined;
	#wake: (() => void) | undefined;

	private constructor(options: NatsLogOptions, link: BrokerLink<Session>, capabilities: LogCapabilities) {
		this.#stream = options.stream;
		this.#clock = options.clock;
		this.#link = link;
		this.capabilities = capabilities;
	}

	static async open(options: NatsLogOptions): Promise<NatsBroker> {
		let broker: NatsBroker | undefined;
		const link = new BrokerLink<Session>(
			(lost) =>
				connect(options, () => {
					lost();
					broker?.endTail();
				}),
			({ connection }) => disconnect(connection, options.clock),
		);
		try {
			const { connection, manager } = await link.get();
			const replicas = await ensureStream(manager, options);
			const payloadMax = connection.info?.max_payload;
			const eventBytesMax = payloadMax === undefined ? {} : { eventBytesMax: payloadMax - HEADER_BYTES };
			broker = new NatsBroker(options, link, { ...(await capabilitiesOf(options, replicas)), ...eventBytesMax });
			return broker;
		} catch (thrown) {
			await link.close();
			throw thrown;
		}
	}

	async append(events: readonly BrokerEvent[]): Promise<BrokerAppend> {
		const { client } = await this.#link.get();
		const subject = subjectOf(this.#stream);
		// Written in this order to one connection, so stored in this order.
		const settled = await Promise.allSettled(
			events.map(({ json, identity }) => client.publish(subject, json, { msgID: identity, timeout: APPEND_TIMEOUT_MS, retries: 0 })),
		);
		const receipts = [];
		for (const each of settled) {
			if (each.status === "rejected") return failureOf(each.reason);
			receipts.push({ sequence: each.value.seq, isDuplicate: each.value.duplicate });
		}
		return { ok: true, receipts };
	}

	async fetch(first: number, count: number): Promise<readonly StoredEvent[]> {
		const { DeliverPolicy } = await import("@nats-io/jetstream");
		return this.#read({ deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: first }, count);
	}

	async next(after: number): Promise<Next> {
		const session = await this.#link.get();
		if (this.#tail?.session !== session || this.#tail.position !== after) await this.#startTail(session, after);
		const tail = this.#tail as unknown as Tail;
		if (tail.queue.length === 0) {
			await new Promise<void>((resolve) => {
				const timer = this.#clock.setTimer(NEXT_WAIT_MS, resolve);
				this.#wake = () => {
					timer.cancel();
					resolve();
				};
			});
		}
		if (this.#tail !== tail) throw new Error("the connection to NATS was lost");
		const events = tail.queue;
		tail.queue = [];
		tail.position = events.at(-1)?.sequence ?? after;
		return { events, position: tail.position };
	}

	async bounds(): Promise<Bounds> {
		const { manager } = await this.#link.get();
		const { state } = await manager.streams.info(this.#stream);
		return { first: Math.max(1, state.first_seq), last: state.last_seq, bytes: state.bytes };
	}

	async sequenceAt(timeMs: number): Promise<number | undefined> {
		const { DeliverPolicy } = await import("@nats-io/jetstream");
		const [event] = await this.#read({ deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(timeMs).toISOString() }, 1);
		return event?.sequence;
	}

	async removeBefore(sequence: number): Promise<void> {
		const { manager } = await this.#link.get();
		await manager.streams.purge(this.#stream, { seq: sequence });
	}

	async close(): Promise<void> {
		this.endTail();
		await this.#link.close();
	}

	/** Whoever waits in `next` hears of it. */
	endTail(): void {
		this.#tail?.messages.stop();
		this.#tail = undefined;
		this.#wake?.();
	}

	/** By a consumer of its own, gone afterwards. It says at once how much there is, so that nobody waits for what is not. */
	async #read(start: object, count: number): Promise<readonly StoredEvent[]> {
		const { AckPolicy } = await import("@nats-io/jetstream");
		const { client, manager } = await this.#link.get();
		const info = await manager.consumers.add(this.#stream, {
			...start,
			ack_policy: AckPolicy.None,
			mem_storage: true,
			inactive_threshold: 30_000_000_000,
		});
		const max = Math.min(count, info.num_pending);
		const events: StoredEvent[] = [];
		if (max > 0) {
			const consumer = client.consumers.getConsumerFromInfo(info);
			const messages = await consumer.fetch({ max_messages: max, expires: READ_TIMEOUT_MS });
			for await (const message of messages) events.push(storedEvent(message));
		}
		await manager.consumers.delete(this.#stream, info.name);
		return events;
	}

	async #startTail(session: Session, after: number): Promise<void> {
		const { DeliverPolicy } = await import("@nats-io/jetstream");
		this.#tail?.messages.stop();
		this.#tail = undefined;
		const consumer = await session.client.consumers.get(this.#stream, { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: after + 1 });
		const queue: StoredEvent[] = [];
		const early: { tail?: Tail } = {};
		const messages = await consumer.consume({
			max_messages: TAIL_MESSAGES,
			callback: (message) => {
				(early.tail?.queue ?? queue).push(storedEvent(message));
				this.#wake?.();
			},
		});
		early.tail = { session, position: after, queue, messages };
		this.#tail = early.tail;
	}
}

async function connect(options: NatsLogOptions, lost: () => void): Promise<Session> {
	const [connection, jetstream] = await Promise.all([connectNats(options, "nexus log"), import("@nats-io/jetstream")]);
	void connection.closed().then(lost);
	try {
		const manager = await within(options.clock, READ_TIMEOUT_MS, "JetStream", jetstream.jetstreamManager(connection));
		return { connection, manager, client: jetstream.jetstream(connection) };
	} catch (thrown) {
		await connection.close();
		throw thrown;
	}
}

/**
 * The client writes once more as it closes, and where the server has just hung up that error has no listener left and would end the process.
 * A round trip first tells which it is.
 */
async function disconnect(connection: NatsConnection, clock: Clock): Promise<void> {
	try {
		await within(clock, FLUSH_TIMEOUT_MS, "a last round trip", Promise.race([connection.flush(), connection.closed()]));
	} catch {
		// A server that hangs or is gone: there is nothing to lose.
	}
	if (!connection.isClosed()) await connection.close();
}

function storedEvent(message: JsMsg): StoredEvent {
	const { data } = message;
	return {
		sequence: message.seq,
		receivedAtMs: Math.floor(message.info.timestampNanos / NS_PER_MS),
		json: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
	};
}

function failureOf(cause: unknown): BrokerAppend & { ok: false } {
	const code = cause instanceof Error && "code" in cause ? Number(cause.code) : 0;
	return { ok: false, failure: NO_ROOM.has(code) ? "full" : "unavailable", detail: messageOf(cause) };
}
