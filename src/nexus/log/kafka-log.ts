/**
 * The event log on a Kafka topic of one partition: one order, and the offset is the sequence less one. Kafka knows no identities of events, so
 * this node remembers the latest (see identity-window.ts).
 */
import type { Consumer, Producer } from "@platformatic/kafka";
import type { Clock } from "../../core/clock.ts";
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
	type Receipt,
	within,
} from "./broker.ts";
import { BrokerLink } from "./broker-link.ts";
import { openBrokerLog } from "./broker-log.ts";
import type { LogCapabilities } from "./capabilities.ts";
import type { EventLog, RetentionLimits, StoredEvent } from "./event-log.ts";
import { clientsOf } from "./kafka-access.ts";
import { causeOf, type KafkaTopic, prepareTopic } from "./kafka-topic.ts";

export interface KafkaLogOptions extends KafkaTopic {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
}

const PARTITION = 0;
/** Below a broker's message.max.bytes, 1 MiB by default, which bounds a whole request of one partition. */
const REQUEST_BYTES_MAX = 1_000_000;
/** Around a record. */
const RECORD_BYTES = 64;
/** Of a UTF-16 code unit. */
const MAX_UTF8_BYTES = 3;
const FETCH_BYTES = 4 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 2_000;
/** Attribute of a batch that holds marks of transactions and no events. */
const CONTROL_BATCH = 0x20;

/** Rejects with a readable error where no broker can be reached or the topic does not fit. */
export async function openKafkaLog(options: KafkaLogOptions): Promise<EventLog> {
	const { clock, log, retention } = options;
	const broker = await KafkaBroker.open(options);
	return openBrokerLog({ broker, clock, log, dedupesHere: true, ...(retention && { retention }) });
}

type Reader = Consumer<Buffer, Buffer, Buffer, Buffer>;

interface Clients {
	readonly producer: Producer<Buffer, Buffer, Buffer, Buffer>;
	/** A fetch that waits holds up its connection, and each consumer has one fetch session: two readers. */
	readonly tail: Reader;
	readonly reader: Reader;
}

class KafkaBroker implements Broker {
	readonly capabilities: LogCapabilities;
	readonly #options: KafkaLogOptions;
	readonly #topic: string;
	readonly #clock: Clock;
	/** Made anew after every failure: a producer whose connection broke would keep what it has and send it later, a fetch session is the broker's. */
	readonly #link: BrokerLink<Clients>;
	/** Fetches of one session follow each other. */
	#reading: Promise<unknown> = Promise.resolve();
	#isClosed = false;
	#endWait: (() => void) | undefined;

	private constructor(options: KafkaLogOptions, capabilities: LogCapabilities) {
		const { topic, clock } = options;
		this.#options = options;
		this.#topic = topic;
		this.#clock = clock;
		this.#link = new BrokerLink(
			() => makeClients(options),
			async ({ producer, tail, reader }) => {
				const closing = Promise.allSettled([producer.close(), tail.close(true), reader.close(true)]);
				await within(clock, CLOSE_TIMEOUT_MS, "closing", closing).catch(() => {});
			},
		);
		this.capabilities = capabilities;
	}

	static async open(options: KafkaLogOptions): Promise<KafkaBroker> {
		return new KafkaBroker(options, await prepareTopic(options));
	}

	async append(events: readonly BrokerEvent[], receivedAtMs: number): Promise<BrokerAppend> {
		const receipts: Receipt[] = [];
		try {
			for (const request of requestsOf(events)) {
				const first = await this.#produce(request, BigInt(receivedAtMs));
				for (let i = 0; i < request.length; i++) receipts.push({ sequence: first + i, isDuplicate: false });
			}
			return { ok: true, receipts };
		} catch (thrown) {
			this.#link.drop();
			return { ok: false, failure: "unavailable", detail: causeOf(thrown) };
		}
	}

	async fetch(first: number, count: number): Promise<readonly StoredEvent[]> {
		const { first: oldest, last } = await this.bounds();
		const from = Math.max(first, oldest);
		if (from > last) return [];
		const reading = this.#reading.then(() => this.#fetch("reader", from, 0));
		this.#reading = reading.catch(() => {});
		return (await reading).events.slice(0, count);
	}

	async next(after: number): Promise<Next> {
		const { promise: closed, resolve } = Promise.withResolvers<Next>();
		const nothing = { events: [], position: after };
		this.#endWait = () => resolve(nothing);
		if (this.#isClosed) return nothing;
		return Promise.race([closed, this.#fetch("tail", after + 1, NEXT_WAIT_MS)]);
	}

	async bounds(): Promise<Bounds> {
		const { ListOffsetTimestamps } = await import("@platformatic/kafka");
		const [first, end] = [await this.#offsetAt(ListOffsetTimestamps.EARLIEST), await this.#offsetAt(ListOffsetTimestamps.LATEST)];
		return { first: first + 1, last: end, bytes: undefined };
	}

	async sequenceAt(timeMs: number): Promise<number | undefined> {
		const offset = await this.#offsetAt(BigInt(Math.max(0, Math.floor(timeMs))));
		return offset < 0 ? undefined : offset + 1;
	}

	async removeBefore(sequence: number): Promise<void> {
		const { Admin } = await import("@platformatic/kafka");
		const { options, prepared } = clientsOf(this.#options);
		const admin = prepared(new Admin({ clientId: "nexus-admin", ...options }));
		try {
			await admin.deleteRecords({ topics: [{ name: this.#topic, partitions: [{ partition: PARTITION, offset: BigInt(sequence - 1) }] }] });
		} finally {
			await admin.close();
		}
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#endWait?.();
		await this.#link.close();
	}

	/** The sequence of the first. */
	async #produce(events: readonly BrokerEvent[], timestamp: bigint): Promise<number> {
		const messages = events.map(({ key, json }) => {
			const message = { topic: this.#topic, partition: PARTITION, value: json, timestamp };
			return key === undefined ? message : { ...message, key: Buffer.from(key) };
		});
		const { producer } = await this.#link.get();
		const { offsets } = await within(this.#clock, APPEND_TIMEOUT_MS, "an answer of Kafka", producer.send({ messages }));
		const first = offsets?.[0]?.offset;
		if (first === undefined) throw new Error("Kafka acknowledged without an offset");
		return Number(first) + 1;
	}

	async #offsetAt(timestamp: bigint): Promise<number> {
		try {
			const { reader } = await this.#link.get();
			const asked = reader.listOffsets({ topics: [this.#topic], partitions: { [this.#topic]: [PARTITION] }, timestamp });
			const offsets = await within(this.#clock, READ_TIMEOUT_MS, "an answer of Kafka", asked);
			return Number(offsets.get(this.#topic)?.[PARTITION] ?? -1n);
		} catch (thrown) {
			this.#link.drop();
			throw new Error(causeOf(thrown), { cause: thrown });
		}
	}

	async #fetch(name: "tail" | "reader", first: number, waitMs: number): Promise<Next> {
		try {
			const consumer = (await this.#link.get())[name];
			const metadata = await consumer.metadata({ topics: [this.#topic] });
			const topic = metadata.topics.get(this.#topic);
			const partition = topic?.partitions[PARTITION];
			if (topic === undefined || partition === undefined) throw new Error(`the topic ${this.#topic} is gone`);
			const fetchOffset = BigInt(first - 1);
			const wanted = { partition: PARTITION, fetchOffset, partitionMaxBytes: FETCH_BYTES, currentLeaderEpoch: -1, lastFetchedEpoch: -1 };
			const request = {
				node: partition.leader,
				topics: [{ topicId: topic.id, partitions: [wanted] }],
				minBytes: 1,
				maxBytes: FETCH_BYTES,
				maxWaitTime: waitMs,
			};
			const response = await within(this.#clock, waitMs + READ_TIMEOUT_MS, "an answer of Kafka", consumer.fetch(request));
			const events: StoredEvent[] = [];
			let position = first - 1;
			for (const { records } of response.responses.flatMap(({ partitions }) => partitions)) {
				for (const batch of records ?? []) {
					position = Number(batch.firstOffset) + batch.lastOffsetDelta + 1;
					if ((batch.attributes & CONTROL_BATCH) !== 0) continue;
					for (const { offsetDelta, timestampDelta, value } of batch.records) {
						const offset = batch.firstOffset + BigInt(offsetDelta);
						// A batch is sent whole, also where an event in its middle was asked for.
						if (offset < fetchOffset || value === null) continue;
						events.push({ sequence: Number(offset) + 1, receivedAtMs: Number(batch.firstTimestamp + timestampDelta), json: value });
					}
				}
			}
			return { events, position };
		} catch (thrown) {
			this.#link.drop();
			throw new Error(causeOf(thrown), { cause: thrown });
		}
	}
}

async function makeClients(options: KafkaLogOptions): Promise<Clients> {
	const { Consumer, Producer } = await import("@platformatic/kafka");
	const { options: access, prepared } = clientsOf(options);
	const base = { ...access, requestTimeout: READ_TIMEOUT_MS };
	const consumer = (name: string): Reader =>
		prepared(new Consumer({ ...base, clientId: `nexus-${name}`, groupId: "nexus-log", maxWaitTime: NEXT_WAIT_MS }));
	// Acknowledged by all replicas that are in sync.
	const producer = prepared(new Producer<Buffer, Buffer, Buffer, Buffer>({ ...base, clientId: "nexus-producer", acks: -1, idempotent: true }));
	return { producer, tail: consumer("tail"), reader: consumer("reader") };
}

/** Pieces, in order, that a broker takes at a time. */
function requestsOf(events: readonly BrokerEvent[]): BrokerEvent[][] {
	const requests: BrokerEvent[][] = [];
	let bytes = REQUEST_BYTES_MAX;
	for (const event of events) {
		const size = event.json.length + (event.key?.length ?? 0) * MAX_UTF8_BYTES + RECORD_BYTES;
		if (bytes + size > REQUEST_BYTES_MAX) {
			requests.push([]);
			bytes = 0;
		}
		requests.at(-1)?.push(event);
		bytes += size;
	}
	return requests;
}
