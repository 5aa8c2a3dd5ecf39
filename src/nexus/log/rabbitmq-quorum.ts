/**
 * The newest minutes of a RabbitMQ log once more, in two quorum queues by turns: those sync before they confirm, which a stream does not. What
 * the stream loses with the machine's power is put back from here (rabbitmq-repair.ts).
 */
import type { AsyncMessage, Channel, Connection, Envelope } from "rabbitmq-client";
import type { Clock, Timer } from "../../core/clock.ts";
import { APPEND_TIMEOUT_MS, type BrokerEvent, within } from "./broker.ts";
import { amqpCodeOf, hasQueue, TIME_HEADER } from "./rabbitmq-stream.ts";

/** Events of one append, as one message. */
export interface TailGroup {
	/** Of one opening of a log: its events are numbered, rising in the queue as in the stream. */
	readonly publisher: string;
	/** Of the first event; the others follow it. */
	readonly number: number;
	/** The newest sequence of the stream that the publisher had seen: these events come behind it. */
	readonly after: number;
	readonly receivedAtMs: number;
	readonly events: readonly Pick<BrokerEvent, "json">[];
}

export interface QuorumTailOptions {
	readonly connection: Connection;
	/** Name of the stream. */
	readonly queue: string;
	/** There was no such stream. Whoever has seen it whole has seen another. */
	readonly isStreamNew: boolean;
	readonly clock: Clock;
	/** Appends of one turn; for tests. */
	readonly groupsMax?: number;
	/** Makes the stream whole again; called at one node, while none appends. */
	repair(): Promise<void>;
	/** The tail can be kept no longer over this connection. */
	lost(cause: Error): void;
}

// A queue is emptied when nothing has come to it for this long. What a system has taken it writes within that time: Linux begins when a page is
// 30 s old and looks every 5 s (vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs).
const TURN_MS = 60_000;
/** Nodes that do not keep the tail look this often whether nobody does. */
const KEEPER_CHECK_MS = 5_000;
const ADMISSION_RETRY_MS = 100;
/** Another node makes the stream whole; a node that hangs meanwhile has lost its connection by then. */
const ADMISSION_TIMEOUT_MS = 60_000;
/** RabbitMQ writes the names of new quorum queues to a file of its own when half a second was quiet; one that ends before does not find them. */
const SETTLE_MS = 2_000;
/**
 * Of one turn: 1,000 appends a second, of all nodes together. All are read by one consumer, whose hand holds 16 bits of them: what several have
 * had in hand comes back in another order.
 */
const GROUPS_MAX = 65_000;
/** 9 MB/s. What comes beyond that is refused until the turn ends. */
const QUEUE_BYTES_MAX = 512 * 1024 * 1024;
/** Each time that the queue is read for a repair counts, and RabbitMQ 4 throws away what was read 20 times. */
const DELIVERIES_MAX = 1_000_000;

// A topic exchange: one binding takes events and answers whether it is there, as a message with the key of one queue alone comes back where it is not.
const EVENTS_KEY = "0.1";
const QUEUE_KEYS = ["0", "1"] as const;

const PUBLISHER_HEADER = "nexus-publisher";
const NUMBER_HEADER = "nexus-number";
const AFTER_HEADER = "nexus-after";
const LENGTH_BYTES = 4;
const EMPTY = Buffer.alloc(0);

interface Route {
	readonly exchange: string;
	readonly routingKey: string;
}

export function tailQueues(queue: string): readonly [string, string] {
	return [`${queue}.tail-0`, `${queue}.tail-1`];
}

export class QuorumTail {
	readonly #options: QuorumTailOptions;
	readonly #publisher: Channel;
	readonly #exchange: string;
	readonly #queues: readonly [string, string];
	/** Each node that has seen the stream whole has a queue bound here, which goes with its connection: a broker that was away has none. */
	readonly #whole: string;
	/** Exclusive to the connection of the node that keeps the tail, and gone with it: so there is one, and a late one can do nothing. */
	readonly #keeper: string;
	#isKeeper = false;
	/** Exchanges and keys of messages that came back. */
	readonly #returned = new Set<string>();
	#timer: Timer | undefined;

	private constructor(options: QuorumTailOptions, publisher: Channel) {
		const { queue } = options;
		this.#options = options;
		this.#publisher = publisher;
		this.#exchange = `${queue}.tail`;
		this.#queues = tailQueues(queue);
		this.#whole = `${queue}.tail-whole`;
		this.#keeper = `${queue}.tail-keeper`;
		publisher.on("basic.return", ({ exchange, routingKey }) => void this.#returned.add(routeOf(exchange, routingKey)));
	}

	/** Resolves once the stream is whole. Rejects with a readable error where the broker cannot keep a tail. */
	static async open(options: QuorumTailOptions): Promise<QuorumTail> {
		const publisher = await options.connection.acquire();
		await publisher.confirmSelect();
		const tail = new QuorumTail(options, publisher);
		await tail.#enter();
		tail.#schedule();
		return tail;
	}

	/** `kept`: the disk has the group (of most members where there are several). `full`: refused until the turn ends. One at a time. */
	async put(group: TailGroup): Promise<"kept" | "full"> {
		const headers = {
			[PUBLISHER_HEADER]: group.publisher,
			[NUMBER_HEADER]: group.number,
			[AFTER_HEADER]: group.after,
			[TIME_HEADER]: group.receivedAtMs,
		};
		try {
			const envelope = { exchange: this.#exchange, routingKey: EVENTS_KEY, durable: true, headers };
			if (await this.#isRouted(envelope, pack(group.events))) return "kept";
		} catch (thrown) {
			if (amqpCodeOf(thrown) === "NACK") return "full";
			throw thrown;
		}
		// Somebody has removed it. Whoever connects makes it anew.
		const fault = new Error(`no quorum queue is behind the exchange ${this.#exchange} any more`);
		this.#options.lost(fault);
		throw fault;
	}

	end(): void {
		this.#timer?.cancel();
	}

	/** Waits until the stream is known to be whole, or sees to it. */
	async #enter(): Promise<void> {
		const { connection, clock, isStreamNew, repair } = this.#options;
		await connection.exchangeDeclare({ exchange: this.#exchange, type: "topic", durable: true });
		await connection.exchangeDeclare({ exchange: this.#whole, type: "fanout", durable: true });
		const until = clock.monotonicMs() + ADMISSION_TIMEOUT_MS;
		while (!(await this.#keepIfFree()) && (isStreamNew || !(await this.#isWhole()))) {
			if (clock.monotonicMs() > until) throw new Error("another node has not made the stream whole yet");
			await this.#pause(ADMISSION_RETRY_MS);
		}
		if (await this.#declareQueues()) await this.#pause(SETTLE_MS);
		if (!(await this.#isBound(0)) && !(await this.#isBound(1))) await connection.queueBind(this.#binding(0));
		if (this.#isKeeper && (isStreamNew || !(await this.#isWhole()))) await repair();
		const { queue } = await connection.queueDeclare({ exclusive: true, arguments: { "x-max-length": 1 } });
		await connection.queueBind({ exchange: this.#whole, queue });
	}

	/** Resolves to true where one was missing. */
	async #declareQueues(): Promise<boolean> {
		const { connection } = this.#options;
		const limits = {
			"x-max-length": this.#options.groupsMax ?? GROUPS_MAX,
			"x-max-length-bytes": QUEUE_BYTES_MAX,
			"x-overflow": "reject-publish",
		} as const;
		let isNew = false;
		for (const queue of this.#queues) {
			if (!(await hasQueue(connection, queue))) isNew = true;
			// Also where it is there: with other arguments it would not do.
			const kind = { "x-queue-type": "quorum", "x-delivery-limit": DELIVERIES_MAX } as const;
			await connection.queueDeclare({ queue, durable: true, arguments: { ...kind, ...limits } });
		}
		return isNew;
	}

	#binding(queue: 0 | 1): Route & { queue: string } {
		return { exchange: this.#exchange, queue: this.#queues[queue], routingKey: `#.${QUEUE_KEYS[queue]}.#` };
	}

	/** Whether events go to that queue. */
	async #isBound(queue: 0 | 1): Promise<boolean> {
		try {
			return await this.#isRouted({ exchange: this.#exchange, routingKey: QUEUE_KEYS[queue] }, EMPTY);
		} catch (thrown) {
			// It is full.
			if (amqpCodeOf(thrown) === "NACK") return true;
			throw thrown;
		}
	}

	/** Whether somebody who has seen it whole is there. */
	#isWhole(): Promise<boolean> {
		return this.#isRouted({ exchange: this.#whole, routingKey: "" }, EMPTY);
	}

	/** Resolves once all queues that the message goes to have it; false where there are none. One at a time of each route. */
	async #isRouted(envelope: Route & Envelope, body: Buffer): Promise<boolean> {
		const route = routeOf(envelope.exchange, envelope.routingKey);
		const confirm = this.#publisher.basicPublish({ ...envelope, mandatory: true }, body);
		await within(this.#options.clock, APPEND_TIMEOUT_MS, "a confirm of the quorum queue", confirm);
		// The client tells of a return after it has told of the confirm, though it has had it before.
		await new Promise((resolve) => setImmediate(resolve));
		return !this.#returned.delete(route);
	}

	async #keepIfFree(): Promise<boolean> {
		const { connection } = this.#options;
		try {
			await connection.queueDeclare({ queue: this.#keeper, exclusive: true });
		} catch (thrown) {
			if (amqpCodeOf(thrown) === "RESOURCE_LOCKED") return false;
			throw thrown;
		}
		this.#isKeeper = true;
		return true;
	}

	#pause(delayMs: number): Promise<void> {
		return new Promise((resolve) => (this.#timer = this.#options.clock.setTimer(delayMs, resolve)));
	}

	#schedule(): void {
		const { clock, lost } = this.#options;
		this.#timer = clock.setTimer(this.#isKeeper ? TURN_MS : KEEPER_CHECK_MS, () => {
			(this.#isKeeper ? this.#turn() : this.#keepIfFree()).then(() => this.#schedule(), lost);
		});
	}

	/**
	 * Always one queue is bound at least, and what is removed has stood for a turn or stands in the other as well: both are bound where an earlier
	 * keeper has ended between two steps, and were so for this one's whole turn.
	 */
	async #turn(): Promise<void> {
		const { connection } = this.#options;
		const next = (await this.#isBound(0)) ? 1 : 0;
		await connection.queueUnbind(this.#binding(next));
		await connection.queuePurge({ queue: this.#queues[next] });
		await connection.queueBind(this.#binding(next));
		await connection.queueUnbind(this.#binding(next === 0 ? 1 : 0));
	}
}

function routeOf(exchange: string, routingKey: string): string {
	return `${exchange} ${routingKey}`;
}

/** Undefined for what is no group of ours. */
export function groupOf({ headers, body }: AsyncMessage): TailGroup | undefined {
	const publisher: unknown = headers?.[PUBLISHER_HEADER];
	if (typeof publisher !== "string" || !Buffer.isBuffer(body)) return undefined;
	return {
		publisher,
		number: Number(headers?.[NUMBER_HEADER]),
		after: Number(headers?.[AFTER_HEADER]),
		receivedAtMs: Number(headers?.[TIME_HEADER]),
		events: unpack(body),
	};
}

/** Each event behind its length. */
function pack(events: readonly Pick<BrokerEvent, "json">[]): Buffer {
	const packed = Buffer.allocUnsafe(events.reduce((bytes, { json }) => bytes + LENGTH_BYTES + json.length, 0));
	let at = 0;
	for (const { json } of events) {
		at = packed.writeUInt32BE(json.length, at);
		at += json.copy(packed, at);
	}
	return packed;
}

function unpack(packed: Buffer): { json: Buffer }[] {
	const events: { json: Buffer }[] = [];
	for (let at = 0; at < packed.length; ) {
		const start = at + LENGTH_BYTES;
		at = start + packed.readUInt32BE(at);
		events.push({ json: packed.subarray(start, at) });
	}
	return events;
}
