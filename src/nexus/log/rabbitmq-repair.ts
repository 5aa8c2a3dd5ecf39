/**
 * Puts back what the stream of a RabbitMQ log has lost with the power of its machine. Each publisher's events stand in the quorum queues in the
 * order of the stream, and a stream loses its end only: so what is behind a publisher's last event in the stream is lost.
 */
import { randomUUID } from "node:crypto";
import type { AsyncMessage, Channel, Connection } from "rabbitmq-client";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { READ_TIMEOUT_MS, within } from "./broker.ts";
import { IdentityWindow, identityOf } from "./identity-window.ts";
import { groupOf, type TailGroup, tailQueues } from "./rabbitmq-quorum.ts";
import { CUT_HEADER, isMark, placeOf, readStream, TIME_HEADER, TOKEN_HEADER, tokenOf, tokenParts } from "./rabbitmq-stream.ts";
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

/** Of 16 bits; more than a queue of the tail holds. */
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
	const filled = tails.filter(({ newest }) => newest.size > 0).sort((a, b) => a.firstAfter - b.firstAfter);
	if (filled.length === 0) return;
	const stream = await surveyStream(options, Math.min(...filled.map(({ after }) => after)));
	const isWhole = filled.every(({ newest }) => [...newest].every(([publisher, number]) => number <= (stream.newest.get(publisher) ?? -1)));
	if (isWhole) return;
	const lost: Lost[] = [];
	for (const tail of filled) await readTail(options, tail.queue, tail.messages, (group) => collectLost(group, stream, lost));
	if (lost.length === 0) return;
	const until = Math.max(...filled.map(({ before }) => before)) + lost.length + LOST_MARKS_MAX;
	await pad(options, stream.end, Math.min(until - stream.end, PADDING_MAX));
	await publish(options, lost.length, (i) => {
		const { token, receivedAtMs, json } = lost[i] as Lost;
		return [{ [TOKEN_HEADER]: token, [TIME_HEADER]: receivedAtMs }, json];
	});
	options.log.error("the broker's stream had lost its end; its events were put back from the quorum queue, with new sequences", {
		events: lost.length,
		from: stream.end,
	});
}

interface Tail {
	readonly queue: string;
	messages: number;
	/** The last number of each publisher. */
	readonly newest: Map<string, number>;
	/** Its events stand in the stream behind this sequence. */
	after: number;
	/** Of the first group: the older queue has the lower one. */
	firstAfter: number;
	/** The highest sequence that a publisher had seen, with the events that it then added. */
	before: number;
}

async function survey(options: RepairOptions, queue: string): Promise<Tail> {
	const tail: Tail = { queue, messages: 0, newest: new Map(), after: Number.POSITIVE_INFINITY, firstAfter: 0, before: 0 };
	tail.messages = await readTail(options, queue, 0, ({ publisher, number, after, events }) => {
		if (tail.newest.size === 0) tail.firstAfter = after;
		tail.after = Math.min(tail.after, after);
		tail.before = Math.max(tail.before, after + events.length);
		tail.newest.set(publisher, Math.max(number + events.length - 1, tail.newest.get(publisher) ?? -1));
	});
	return tail;
}

/** Shows all groups in order and leaves them where they are. Resolves to how many messages there are. */
async function readTail({ connection, clock }: RepairOptions, queue: string, atLeast: number, visit: (group: TailGroup) => void): Promise<number> {
	// What an earlier reader had in hand comes back a moment after it is gone.
	for (;;) {
		const { consumerCount, messageCount } = await connection.queueDeclare({ queue, passive: true });
		if (consumerCount === 0 && messageCount >= atLeast) break;
		await new Promise<void>((resolve) => void clock.setTimer(POLL_MS, resolve));
	}
	const channel = await connection.acquire();
	try {
		let messages = 0;
		await channel.basicQos({ prefetchCount: PREFETCH_MAX });
		await channel.basicConsume({ queue }, (message: AsyncMessage) => {
			messages++;
			const group = groupOf(message);
			if (group !== undefined) visit(group);
		});
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

interface StreamSurvey {
	/** The sequence of a mark of ours behind all that the stream has. */
	readonly end: number;
	/** The last number of each publisher. */
	readonly newest: Map<string, number>;
	readonly identities: IdentityWindow;
}

/** Looks at all that is behind the sequence `after`. */
async function surveyStream(options: RepairOptions, after: number): Promise<StreamSurvey> {
	const { connection, queue, clock } = options;
	const token = randomUUID();
	await publish(options, 1, () => [{ [TOKEN_HEADER]: token }, EMPTY]);
	let end = 0;
	const findEnd = readStream(connection, queue, "last", Number.POSITIVE_INFINITY, (message) => {
		end = placeOf(message).sequence;
		return isMark(message, token);
	});
	await within(clock, READ_TIMEOUT_MS, "reading the stream", findEnd);
	const newest = new Map<string, number>();
	const identities = new IdentityWindow();
	const attributes = new RecordAttributes();
	await readStream(connection, queue, Math.min(after, end - 1), Number.POSITIVE_INFINITY, (message) => {
		const { sequence, event, token } = placeOf(message);
		if (event !== undefined) {
			const parts = token === undefined ? undefined : tokenParts(token);
			if (parts !== undefined) newest.set(parts.publisher, Math.max(parts.number, newest.get(parts.publisher) ?? -1));
			const known = attributes.of(event);
			if (known !== undefined) identities.add(identityOf(known.source, known.id), sequence);
		}
		return sequence >= end;
	});
	return { end, newest, identities };
}

interface Lost {
	readonly token: string;
	readonly receivedAtMs: number;
	readonly json: Buffer;
}

/** Where its sender has sent it again, through another node or once it had been refused, the event is there under another number. */
function collectLost({ publisher, number, receivedAtMs, events }: TailGroup, { end, newest, identities }: StreamSurvey, lost: Lost[]): void {
	const attributes = new RecordAttributes();
	for (const [i, { json }] of events.entries()) {
		if (number + i <= (newest.get(publisher) ?? -1)) continue;
		newest.set(publisher, number + i);
		const known = attributes.of({ sequence: 0, receivedAtMs, json });
		const identity = known === undefined ? undefined : identityOf(known.source, known.id);
		if (identity === undefined || identities.get(identity) !== undefined) continue;
		identities.add(identity, end);
		lost.push({ token: tokenOf(publisher, number + i), receivedAtMs, json: Buffer.from(json) });
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
