/** The two ways in which a consumer is connected: a WebSocket that brings events and takes answers, and long polls. */
import type { Clock } from "../core/clock.ts";
import type { Rng } from "../core/rng.ts";
import { path, withQuery } from "./json-calls.ts";
import { NexusError } from "./nexus-error.ts";
import type { AnswerReport, Answers, TakenEvent } from "./subscription-shapes.ts";
import type { SubscriptionsClient } from "./subscriptions-client.ts";
import type { Transport } from "./transport.ts";
import { openSocket } from "./web-socket.ts";

export interface ConsumerTarget {
	/** Of the subscription. */
	readonly name: string;
	readonly subscriptions: SubscriptionsClient;
	readonly transport: Transport;
	readonly clock: Clock;
	readonly rng: Rng;
}

/** Who takes what comes over a link. */
export interface LinkHost {
	/** Events at a time. */
	readonly credit: number;
	/** How many may come now; resolves once that is one at least. */
	room(): Promise<number>;
	take(events: readonly TakenEvent[]): void;
}

export interface ConsumerLink {
	/** Rejects once the link has ended. Absent where answers go another way. */
	readonly answer?: (answers: Answers) => Promise<AnswerReport>;
	/** Resolves with the cause once no more events come. */
	readonly ended: Promise<unknown>;
	/** No more events, please; answers still go. */
	stop(): void;
	/** What was not answered for comes again, here or elsewhere. */
	close(): void;
}

const HANDSHAKE_MS = 10_000;
/** 4 MiB of events and one more, of 1 MiB at most, each with what stands around it. */
const MESSAGE_BYTES_MAX = 8 * 1024 * 1024;
const POLL_WAIT_MS = 30_000;

interface SocketMessage {
	readonly deliveries?: readonly TakenEvent[];
	/** The number of ours that it answers, on this connection, from 1. */
	readonly message?: number;
	readonly settled?: number;
	readonly unknown?: readonly string[];
	readonly problem?: string;
}

/** Rejects with a NexusError where it is refused. */
export async function openSocketLink({ name, transport, clock }: ConsumerTarget, host: LinkHost): Promise<ConsumerLink> {
	const ended = deferred<unknown>();
	const unanswered = new Map<number, { settle(report: AnswerReport): void; fail(cause: unknown): void }>();
	let sent = 0;
	let over: NexusError | undefined;
	const socket = await openSocket(transport, withQuery(path`/v1/subscriptions/${name}/socket`, { credit: host.credit }), {
		clock,
		handshakeMs: HANDSHAKE_MS,
		messageBytesMax: MESSAGE_BYTES_MAX,
		onMessage(text) {
			const { deliveries, message = 0, settled = 0, unknown = [], problem } = JSON.parse(text) as SocketMessage;
			if (deliveries !== undefined) host.take(deliveries);
			const ours = unanswered.get(message);
			unanswered.delete(message);
			if (problem === undefined) ours?.settle({ settled, unknown });
			else ours?.fail(new NexusError(problem, 400, ""));
		},
		onClose(cause) {
			over = cause;
			for (const { fail } of unanswered.values()) fail(cause);
			unanswered.clear();
			ended.resolve(cause);
		},
	});
	const send = (message: object): Promise<AnswerReport> =>
		new Promise((settle, fail) => {
			if (over !== undefined) throw over;
			unanswered.set(++sent, { settle, fail });
			socket.send(JSON.stringify(message));
		});
	return {
		answer: send,
		ended: ended.promise,
		// Where it ends meanwhile, no more events come either.
		stop: () => void send({ drain: true }).catch(() => {}),
		close: () => socket.close(),
	};
}

/** Rejects with a NexusError where it is refused. */
export async function openPollLink({ name, subscriptions }: ConsumerTarget, host: LinkHost): Promise<ConsumerLink> {
	const stopped = new AbortController();
	const { signal } = stopped;
	const poll = async (waitMs: number): Promise<void> => {
		const max = await host.room();
		if (!signal.aborted) host.take(await subscriptions.fetch(name, { max, waitMs, signal }));
	};
	const pollOn = async (): Promise<unknown> => {
		try {
			while (!signal.aborted) await poll(POLL_WAIT_MS);
			return signal.reason;
		} catch (thrown) {
			return thrown;
		}
	};
	// Not a long one: it says at once whether there is something to wait for.
	await poll(0);
	const stop = (): void => stopped.abort(new Error("the consumer has stopped"));
	return { ended: pollOn(), stop, close: stop };
}

function deferred<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
	let resolve: (value: T) => void = () => {};
	const promise = new Promise<T>((settle) => {
		resolve = settle;
	});
	return { promise, resolve: (value) => resolve(value) };
}
