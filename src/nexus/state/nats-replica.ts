/** One node's tables: the groups of the log applied in its order, so that every node has the same ones and gives each group the same outcome. */
import type { ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { BrokerLink } from "../log/broker-link.ts";
import type { GroupResult } from "./engine.ts";
import { loadCopy } from "./nats-copies.ts";
import { decodeGroup } from "./nats-message.ts";
import type { NatsSession } from "./nats-session.ts";
import { Tables } from "./tables.ts";

export interface ReplicaEvents {
	/** After each group; `by` is what its writer has put into it. */
	applied(by: string, result: Omit<GroupResult, "durability">, bytes: number): void;
}

const RETRY_MS = 200;

export class NatsReplica {
	tables = new Tables();
	/** The last message of the log that the tables hold. */
	sequence = 0;
	/** Why it does not follow at the moment. */
	fault: string | undefined;
	/** The size of the copy that it began with. */
	copyBytes = 0;
	readonly #link: BrokerLink<NatsSession>;
	readonly #stream: string;
	readonly #clock: Clock;
	readonly #events: ReplicaEvents;
	readonly #waiting = new Set<{ readonly sequence: number; readonly resolve: (hasCome: boolean) => void }>();
	#messages: ConsumerMessages | undefined;
	#pause: { readonly timer: Timer; readonly resolve: () => void } | undefined;
	#isClosed = false;
	readonly #following: Promise<void>;

	constructor(link: BrokerLink<NatsSession>, stream: string, clock: Clock, events: ReplicaEvents) {
		this.#link = link;
		this.#stream = stream;
		this.#clock = clock;
		this.#events = events;
		this.#following = this.#followForEver();
	}

	/** Once the tables hold that message; false when they do not in time. */
	reach(sequence: number, timeoutMs: number): Promise<boolean> {
		if (this.sequence >= sequence) return Promise.resolve(true);
		const { promise, resolve } = Promise.withResolvers<boolean>();
		const waiter = { sequence, resolve };
		this.#waiting.add(waiter);
		const timer = this.#clock.setTimer(timeoutMs, () => resolve(false));
		return promise.finally(() => {
			timer.cancel();
			this.#waiting.delete(waiter);
		});
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#messages?.stop();
		this.#pause?.timer.cancel();
		this.#pause?.resolve();
		for (const { resolve } of this.#waiting) resolve(false);
		await this.#following;
	}

	async #followForEver(): Promise<void> {
		while (!this.#isClosed) {
			try {
				const session = await this.#link.get();
				await this.#meetTheLog(session);
				this.fault = undefined;
				await this.#follow(session);
			} catch (thrown) {
				this.fault = messageOf(thrown);
			}
			if (!this.#isClosed) await this.#rest();
		}
	}

	/** Where the log begins behind what is held here, a copy holds what is missing: it was made before the log was cut. */
	async #meetTheLog({ manager, copies }: NatsSession): Promise<void> {
		const { state } = await manager.streams.info(this.#stream);
		const isBehind = state.first_seq > this.sequence + 1;
		// The log was made anew or restored: what is held here is the state of another one.
		const isAhead = state.last_seq < this.sequence;
		if (!isBehind && !isAhead) return;
		const copy = await loadCopy(copies);
		const sequence = copy?.sequence ?? 0;
		if (sequence > state.last_seq)
			throw new Error(`the log ends at ${state.last_seq}, before the copy of the state at ${sequence}: it was lost or restored`);
		if (state.first_seq > sequence + 1) throw new Error(`the log begins at ${state.first_seq}, and no copy of the state reaches it`);
		this.tables = copy === undefined ? new Tables() : Tables.from(copy.image);
		this.copyBytes = copy?.bytes ?? 0;
		this.#moveTo(sequence);
	}

	async #follow({ client }: NatsSession): Promise<void> {
		const { DeliverPolicy } = await import("@nats-io/jetstream");
		const consumer = await client.consumers.get(this.#stream, { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: this.sequence + 1 });
		const messages = await consumer.consume();
		this.#messages = messages;
		try {
			// While the server was asked nobody had something to stop.
			if (this.#isClosed) return;
			// Ends with the connection.
			for await (const message of messages) {
				if (this.#isClosed) return;
				// The log was cut before this node had read it.
				if (message.seq > this.sequence + 1) return;
				if (message.seq === this.sequence + 1) this.#apply(message);
			}
		} finally {
			this.#messages = undefined;
			messages.stop();
		}
	}

	#apply(message: JsMsg): void {
		const decoded = decodeGroup(message.data);
		if (decoded.kind === "newer") throw new Error(`the log holds a group of version ${decoded.version}, written by a newer Nexus`);
		if (decoded.kind === "group") this.#events.applied(decoded.by, this.tables.apply(decoded.group), message.data.length);
		this.#moveTo(message.seq);
	}

	#moveTo(sequence: number): void {
		this.sequence = sequence;
		for (const waiter of this.#waiting) if (waiter.sequence <= sequence) waiter.resolve(true);
	}

	#rest(): Promise<void> {
		const { promise, resolve } = Promise.withResolvers<void>();
		this.#pause = { timer: this.#clock.setTimer(RETRY_MS, resolve), resolve };
		return promise;
	}
}
