/** A RabbitMQ stream over AMQP 0-9-1: its declaration, reading from an offset, and what a message of ours looks like. */
import { randomUUID } from "node:crypto";
import type { AsyncMessage, Connection } from "rabbitmq-client";
import type { RetentionLimits, StoredEvent } from "./event-log.ts";

/** https://www.rabbitmq.com/docs/streams#consuming */
export type StreamOffset = number | "first" | "next";

/** Which message of which node this is. */
export const TOKEN_HEADER = "nexus-token";
/** Of receipt, milliseconds since 1970; the property of AMQP has seconds. */
export const TIME_HEADER = "nexus-received-at";
/** Of a mark: what stood from this sequence on was lost, and comes again further on. */
export const CUT_HEADER = "nexus-cut";
const OFFSET_HEADER = "x-stream-offset";
/** A stream gives as many messages as may be under way without an acknowledgement. */
export const PREFETCH = 512;
const MS_PER_S = 1000;

/** Makes the stream where it is missing, then resolves to true. Rejects with a readable error where there is a queue of another kind. */
export async function declareStream(connection: Connection, queue: string, retention: RetentionLimits | undefined): Promise<boolean> {
	if (await hasQueue(connection, queue)) return false;
	const limits: Record<string, string | number> = {};
	if (retention !== undefined && Number.isFinite(retention.ageMsMax)) limits["x-max-age"] = `${Math.ceil(retention.ageMsMax / MS_PER_S)}s`;
	if (retention !== undefined && Number.isFinite(retention.bytesMax)) limits["x-max-length-bytes"] = retention.bytesMax;
	await connection.queueDeclare({ queue, durable: true, arguments: { "x-queue-type": "stream", ...limits } });
	return true;
}

/** Whatever its arguments are. */
export async function hasQueue(connection: Connection, queue: string): Promise<boolean> {
	try {
		await connection.queueDeclare({ queue, passive: true });
		return true;
	} catch (thrown) {
		if (amqpCodeOf(thrown) === "NOT_FOUND") return false;
		throw thrown;
	}
}

/** The name that AMQP, or the client, has for an error. */
export function amqpCodeOf(thrown: unknown): unknown {
	return thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
}

/** Shows messages from `offset` on, and calls `whenReading` once none can be missed, until `visit` returns true or `count` were shown. Does not end where there are fewer. */
export async function readStream(
	connection: Connection,
	queue: string,
	offset: StreamOffset,
	count: number,
	visit: (message: AsyncMessage) => boolean,
	whenReading?: () => Promise<void>,
): Promise<void> {
	const channel = await connection.acquire();
	try {
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		// Where consuming is refused, that is what is told.
		promise.catch(() => {});
		channel.once("close", () => reject(new Error("the connection to RabbitMQ was lost")));
		await channel.basicQos({ prefetchCount: PREFETCH });
		let shown = 0;
		let isDone = false;
		await channel.basicConsume({ queue, arguments: { [OFFSET_HEADER]: offset } }, (message) => {
			if (isDone) return;
			isDone = visit(message) || ++shown >= count;
			if (isDone) resolve();
			else if (shown % (PREFETCH / 2) === 0) channel.basicAck({ deliveryTag: message.deliveryTag, multiple: true });
		});
		await whenReading?.();
		await promise;
	} finally {
		await channel.close().catch(() => {});
	}
}

/**
 * The sequence of a mark behind all that the stream has. It is written by somebody who is reading already: who reads afterwards, from the last piece
 * on, misses it where another has written meanwhile.
 */
export async function findEnd(connection: Connection, queue: string, publish: (headers: Record<string, string>) => Promise<void>): Promise<number> {
	const token = randomUUID();
	let end = 0;
	const visit = (message: AsyncMessage): boolean => {
		end = placeOf(message).sequence;
		return message.headers?.[TOKEN_HEADER] === token;
	};
	await readStream(connection, queue, "next", Number.POSITIVE_INFINITY, visit, () => publish({ [TOKEN_HEADER]: token }));
	return end;
}

export interface Place {
	readonly sequence: number;
	/** Undefined for a mark and for what somebody else has written. */
	readonly event: StoredEvent | undefined;
	readonly token: string | undefined;
	readonly cut: number | undefined;
}

export function placeOf(message: AsyncMessage): Place {
	const headers = message.headers ?? {};
	const sequence = Number(headers[OFFSET_HEADER]) + 1;
	const time = headers[TIME_HEADER];
	const token = headers[TOKEN_HEADER] as string | undefined;
	const cut = headers[CUT_HEADER] as number | undefined;
	const isEvent = time !== undefined && Buffer.isBuffer(message.body);
	return { sequence, token, cut, event: isEvent ? { sequence, receivedAtMs: Number(time), json: message.body as Buffer } : undefined };
}

/** `publisher`: one opening of a log; `number`: rising with each message of it. */
export function tokenOf(publisher: string, number: number): string {
	return `${publisher}:${number}`;
}

export function tokenParts(token: string): { publisher: string; number: number } {
	const at = token.lastIndexOf(":");
	return { publisher: token.slice(0, at), number: Number(token.slice(at + 1)) };
}
