/**
 * Puts back what the stream of a RabbitMQ log has lost with the power of its machine. Each publisher's events stand in the quorum queues in the
 * order of the stream, and a stream loses its end only: so what is behind a publisher's last event in the stream is lost.
 */
import type { AsyncMessage, Channel, Connection } from "rabbitmq-client";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { READ_TIMEOUT_MS, within } from "./broker.ts";
import { identityOf } from "./identity-window.ts";
import { groupOf, type TailGroup, tailQueues } from "./rabbitmq-quorum.ts";
import { CUT_HEADER, findEnd, placeOf, readStream, TIME_HEADER, TOKEN_HEADER, tokenOf, tokenParts } from "./rabbitmq-stream.ts";
import { RecordAttributes } from "./record-scan.ts";

export interface RepairOptions {
	readonly connection: Connection;
	/** With confirms. */
	readonly publisher: Channel;
	/** Name of the stream. */
	readonly queue: string;
	readonly clock: Clock;
	readonly log: Logger;
}

/** Of one consumer, 16 bits. */
const PREFETCH_MAX = 65_535;
const PUBLISHED_AT_ONCE = 512;
/** Marks that stood among what was lost: one for each minute and each failure of an append. */
const LOST_MARKS_MAX = 1024;
/** A stream that has lost so many was not cut off by a loss of power: somebody has emptied it, and its sequences are given again. */
const PADDING_MAX = 500_000;
const POLL_MS = 20;

/** Nobody else may append meanwhile. After a failure it can be done again. */
export async function repairStream(options: RepairOptions): Promise<void> {
	const tails: Tail[] = [];
	for (const queue of tailQueues(options.queue)) tails.push(await survey(options, queue));
	const newest = new Map<string, Newest>();
	for (const tail of tails)
		for (const [publisher, known] of tail.newest) if (known.number > (newest.get(publisher)?.number ?? -1)) newest.set(publisher, known);
	if (newest.size === 0) return;
	// The last events of each publisher are looked for first: where they are all else is, and they are near the end.
	const mark = (headers: Record<string, string>): Promise<void> => publish(options, 1, () => [headers, EMPTY]);
	const end = await within(options.clock, READ_TIMEOUT_MS, "reading the stream", findEnd(options.connection, options.queue, mark));
	const lastOf = await surveyStream(options, Math.min(...[...newest.values()].map(({ after }) => after)), end);
	if ([...newest].every(([publisher, { number }]) => number <= (lastOf.newest.get(publisher) ?? -1))) return;
	const stream = await surveyStream(options, Math.min(...tails.map(({ after }) => after)), end);
	const lost = new Map<string, Lost>();
	for (const tail of tails.sort((a, b) => a.firstAfter - b.firstAfter))
		await readTail(options, tail.queue, tail.messages, (group) => collectLost(group, stream, lost));
	if (lost.size === 0) return;
	const ordered = [...lost.values()];
	const until = Math.max(...tails.map(({ before }) => before)) + lost.size + LOST_MARKS_MAX;
	await pad(options, end, Math.min(until - end, PADDING_MAX));
	await publish(options, ordered.length, (i) => {
		const { publisher, number, receivedAtMs, json } = ordered[i] as Lost;
		return [{ [TOKEN_HEADER]: tokenOf(publisher, number), [TIME_HEADER]: receivedAtMs }, json];
	});
	options.log.error("the broker's stream had lost its end; its events were put back from the quorum queue, with new sequences", {
		events: ordered.length,
		from: end,
	});
}

interface Newest {
	readonly number: number;
	/** The event stands in the stream behind this sequence. */
	readonly after: number;
}

interface Tail {
	readonly queue: string;
	messages: number;
	/** The last event of each publisher. */
	readonly newest: Map<string, Newest>;
	/** All of its events stand in the stream behind this sequence. */
	after: number;
	/** Of the first group. The queue with the lower one is older, or has all that the other has. */
	firstAfter: number;
	/** The highest sequence that a publisher had seen, with the events that it then added. */
	before: number;
}

async function survey(options: RepairOptions, queue: string): Promise<Tail> {
	const tail: Tail = { queue, messages: 0, newest: new Map(), after: Number.POSITIVE_INFINITY, firstAfter: Number.POSITIVE_INFINITY, before: 0 };
	tail.messages = await readTail(options, queue, 0, ({ publisher, number, after, events }) => {
		if (tail.newest.size === 0) tail.firstAfter = after;
		tail.after = Math.min(tail.after, after);
		tail.before = Math.max(tail.before, after + events.length);
		const last = number + events.length - 1;
		if (last > (tail.newest.get(publisher)?.number ?? -1)) tail.newest.set(publisher, { number: last, after });
	});
	return tail;
}

/** Shows all groups in order and leaves them where they are. Resolves to how many messages there are. */
async function readTail({ connection, clock }: RepairOptions, queue: string, atLeast: number, visit: (group: TailGroup) => void): Promise<number> {
	const there = await untilReturned(connection, queue, atLeast, clock);
	const channel = await connection.acquire();
	try {
		let messages = 0;
		await channel.basicQos({ prefetchCount: PREFETCH_MAX });
		// Each takes as many as it may before the next one comes.
		for (let room = 0; room <= there; room += PREFETCH_MAX) {
			await channel.basicConsume({ queue }, (message: AsyncMessage) => {
				messages++;
				const group = groupOf(message);
				if (group !== undefined) visit(group);
			});
		}
		// One command behind the other: nothing is left to get once all is on its way here, and the answer to what is asked next comes behind that.
		const more = await channel.basicGet({ queue });
		if (more !== undefined) throw new Error(`the queue ${queue} holds more than can be read of it`);
		await channel.basicQos({ prefetchCount: PREFETCH_MAX });
		await new Promise((resolve) => setImmediate(resolve));
		return messages;
	} finally {
		await channel.close().catch(() => {});
	}
}

/** What an earlier reader had in hand comes back a moment after it is gone. Resolves to how many messages there are. */
async function untilReturned(connection: Connection, queue: string, atLeast: number, clock: Clock): Promise<number> {
	const until = clock.monotonicMs() + READ_TIMEOUT_MS;
	for (;;) {
		const { consumerCount, messageCount } = await connection.queueDeclare({ queue, passive: true });
		if (consumerCount === 0 && messageCount >= atLeast) return messageCount;
		if (clock.monotonicMs() > until) throw new Error(`somebody else reads the queue ${queue}, or has removed messages`);
		await new Promise<void>((resolve) => void clock.setTimer(POLL_MS, resolve));
	}
}

interface StreamSurvey {
	/** The last number of each publisher. */
	readonly newest: ReadonlyMap<string, number>;
	readonly identities: ReadonlySet<string>;
}

/** Looks at all that is behind the sequence `after`. */
async function surveyStream({ connection, queue }: RepairOptions, after: number, end: number): Promise<StreamSurvey> {
	const newest = new Map<string, number>();
	const identities = new Set<string>();
	const attributes = new RecordAttributes();
	await readStream(connection, queue, Math.min(after, end - 1), Number.POSITIVE_INFINITY, (message) => {
		const { sequence, event, token } = placeOf(message);
		if (event !== undefined) {
			const parts = token === undefined ? undefined : tokenParts(token);
			if (parts !== undefined) newest.set(parts.publisher, Math.max(parts.number, newest.get(parts.publisher) ?? -1));
			const known = attributes.of(event);
			if (known !== undefined) identities.add(identityOf(known.source, known.id));
		}
		return sequence >= end;
	});
	return { newest, identities };
}

interface Lost {
	readonly publisher: string;
	readonly number: number;
	readonly receivedAtMs: number;
	readonly json: Buffer;
}

/** Where its sender has sent it again, through another node or once it had been refused, the event is there under another number. */
function collectLost({ publisher, number, receivedAtMs, events }: TailGroup, { newest, identities }: StreamSurvey, lost: Map<string, Lost>): void {
	const attributes = new RecordAttributes();
	for (const [i, { json }] of events.entries()) {
		if (number + i <= (newest.get(publisher) ?? -1)) continue;
		const known = attributes.of({ sequence: 0, receivedAtMs, json });
		const identity = known === undefined ? `${publisher}:${number + i}` : identityOf(known.source, known.id);
		if (identities.has(identity) || lost.has(identity)) continue;
		lost.set(identity, { publisher, number: number + i, receivedAtMs, json: Buffer.from(json) });
	}
}

/** Marks up to beyond all sequences that were given before: who had read to one of them still gets what comes behind it. */
function pad(options: RepairOptions, cut: number, count: number): Promise<void> {
	return publish(options, Math.max(count, 1), () => [{ [CUT_HEADER]: cut }, EMPTY]);
}

/** In order; resolves when all are confirmed. */
async function publish(
	{ publisher, queue }: RepairOptions,
	count: number,
	message: (i: number) => readonly [headers: Record<string, unknown>, body: Buffer],
) {
	for (let from = 0; from < count; from += PUBLISHED_AT_ONCE) {
		const part = Array.from({ length: Math.min(PUBLISHED_AT_ONCE, count - from) }, (_, i) => {
			const [headers, body] = message(from + i);
			return publisher.basicPublish({ routingKey: queue, durable: true, headers }, body);
		});
		await Promise.all(part);
	}
}

const EMPTY = Buffer.alloc(0);
