/**
 * State on NATS, for several nodes. JetStream's key-value has no commit of several keys, so the truth is a log: a group is one message of one
 * stream, and each node applies the same log to tables in its memory. Key-value holds copies of all, so that the log can be cut.
 */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { IdSource } from "../../core/ids.ts";
import { BrokerLink } from "../log/broker-link.ts";
import type { Group, GroupResult, Outcome, Span, StateEngine } from "./engine.ts";
import { LOG_BYTES_MIN, NATS_GROUP_MAX } from "./limits.ts";
import { newestCopy, saveCopy } from "./nats-copies.ts";
import { encodeGroup } from "./nats-message.ts";
import { NatsReplica } from "./nats-replica.ts";
import { CALL_TIMEOUT_MS, connect, disconnect, durabilityOf, type NatsOptions, type NatsSession, subjectOf } from "./nats-session.ts";
import type { Durability, StateFailed } from "./state-store.ts";
import type { Tables } from "./tables.ts";

export interface NatsEngineOptions extends NatsOptions {
	readonly clock: Clock;
	/** After how many bytes of log a copy is made. Default 8 MiB, and never before twice the size of a copy. */
	readonly logBytesMin?: number;
}

export type OpenNats = { readonly ok: true; readonly engine: StateEngine } | { readonly ok: false; readonly detail: string };

// https://github.com/nats-io/nats-server/blob/main/server/errors.json: no space, limits of account, stream or store.
const NO_ROOM = new Set([10023, 10047, 10077, 10122]);

/** Ready once the node has read all that was there. */
export async function openNatsEngine(options: NatsEngineOptions): Promise<OpenNats> {
	const link = new BrokerLink<NatsSession>(
		(lost) => connect(options, lost),
		(session) => disconnect(session, options.clock),
	);
	let engine: NatsEngine | undefined;
	try {
		await link.get();
		engine = new NatsEngine(link, options, await durabilityOf(options));
		const read = await engine.get("opening", "opening");
		if (!read.ok) throw new Error(read.detail);
		return { ok: true, engine };
	} catch (thrown) {
		await (engine ?? link).close();
		return { ok: false, detail: `NATS: ${messageOf(thrown)}` };
	}
}

class NatsEngine implements StateEngine {
	readonly name = "nats";
	readonly isShared = true;
	readonly groupMax = NATS_GROUP_MAX;
	readonly durability: Durability;
	readonly #link: BrokerLink<NatsSession>;
	readonly #stream: string;
	readonly #replica: NatsReplica;
	readonly #logBytesMin: number;
	readonly #timeoutMs: number;
	/** Different for each opening: the log keeps what earlier ones have written. */
	readonly #self = new IdSource().hex(16);
	readonly #listeners: (() => void)[] = [];
	#written = 0;
	#own: { readonly by: string; readonly settle: (result: Omit<GroupResult, "durability">) => void } | undefined;
	#logBytes = 0;
	#copying: Promise<void> | undefined;
	#newest = 0;
	#barrier: Promise<StateFailed | undefined> | undefined;
	#nextBarrier: Promise<StateFailed | undefined> | undefined;

	constructor(link: BrokerLink<NatsSession>, options: NatsEngineOptions, durability: Durability) {
		this.#link = link;
		this.#stream = options.name ?? "nexus-state";
		this.#logBytesMin = options.logBytesMin ?? LOG_BYTES_MIN;
		this.#timeoutMs = options.answerTimeoutMs ?? CALL_TIMEOUT_MS;
		this.durability = durability;
		this.#replica = new NatsReplica(link, this.#stream, options.clock, { applied: (by, result, bytes) => this.#applied(by, result, bytes) });
	}

	async write(group: Group): Promise<Outcome<GroupResult>> {
		const by = `${this.#self}-${++this.#written}`;
		let session: NatsSession;
		try {
			session = await this.#link.get();
		} catch (thrown) {
			return { ok: false, failure: "unavailable", detail: `no connection: ${messageOf(thrown)}` };
		}
		const { promise, resolve } = Promise.withResolvers<Outcome<GroupResult>>();
		this.#own = { by, settle: (result) => resolve({ ok: true, value: { ...result, durability: this.durability } }) };
		// Its place in the log decides the outcome, so it is known when the log has come back to here; that may be before the answer.
		session.client.publish(subjectOf(this.#stream), encodeGroup(by, group), { timeout: this.#timeoutMs, retries: 0 }).then(
			async ({ seq }) => {
				await this.#replica.reach(seq, this.#timeoutMs);
				// Settled by now where it was read; a copy that the tables were made anew from may hold it as well, and does not tell.
				resolve({ ok: false, failure: "unknown", detail: "stored, but not read back in time" });
			},
			(thrown: unknown) => resolve(failureOf(thrown)),
		);
		const outcome = await promise;
		this.#own = undefined;
		return outcome;
	}

	get(table: string, key: string): ReturnType<StateEngine["get"]> {
		return this.#read((tables) => tables.get(table, key));
	}

	list(table: string, span: Span): ReturnType<StateEngine["list"]> {
		return this.#read((tables) => tables.list(table, span));
	}

	changes(table: string, after: number, bytes: number): ReturnType<StateEngine["changes"]> {
		return this.#read((tables) => tables.changes(table, after, bytes));
	}

	cursors(span: Span): ReturnType<StateEngine["cursors"]> {
		return this.#read((tables) => tables.cursors(span));
	}

	onChange(listener: () => void): void {
		this.#listeners.push(listener);
	}

	async close(): Promise<void> {
		await this.#copying;
		await this.#replica.close();
		await this.#link.close();
	}

	/** What any node was told to be written before this read is in it. */
	async #read<T>(read: (tables: Tables) => T): Promise<Outcome<T>> {
		const failed = await this.#catchUp();
		return failed ?? { ok: true, value: read(this.#replica.tables) };
	}

	/** Asks how far the log goes. Who comes while one asks shares the next question: the one on its way may be too old for it. */
	#catchUp(): Promise<StateFailed | undefined> {
		this.#nextBarrier ??= (async () => {
			await this.#barrier;
			this.#barrier = this.#nextBarrier;
			this.#nextBarrier = undefined;
			return this.#askAndWait();
		})();
		return this.#nextBarrier;
	}

	async #askAndWait(): Promise<StateFailed | undefined> {
		try {
			const { manager } = await this.#link.get();
			const { state } = await manager.streams.info(this.#stream);
			if (await this.#replica.reach(state.last_seq, this.#timeoutMs)) return undefined;
			return { ok: false, failure: "unavailable", detail: this.#replica.fault ?? `still behind the log after ${this.#timeoutMs} ms` };
		} catch (thrown) {
			return { ok: false, failure: "unavailable", detail: messageOf(thrown) };
		}
	}

	#applied(by: string, result: Omit<GroupResult, "durability">, bytes: number): void {
		this.#logBytes += bytes;
		const isOwn = this.#own?.by === by;
		if (isOwn) this.#own?.settle(result);
		if (result.commits.some((commit) => typeof commit === "number")) for (const listener of this.#listeners) listener();
		// The writer of a group copies what is behind it: one node, and another the next time. After this message is counted.
		if (isOwn && this.#logBytes > Math.max(this.#logBytesMin, 2 * this.#replica.copyBytes))
			this.#copying ??= Promise.resolve().then(() => this.#copy());
	}

	async #copy(): Promise<void> {
		try {
			const { copies, manager } = await this.#link.get();
			const newest = await newestCopy(copies);
			this.#logBytes = 0;
			if (newest !== undefined && newest.sequence > this.#newest) {
				// Somebody else has made one since: count anew from here.
				this.#newest = newest.sequence;
				this.#replica.copyBytes = newest.bytes;
				return;
			}
			const { sequence } = this.#replica;
			const { isNewest, bytes } = await saveCopy(copies, manager, sequence, this.#replica.tables.image());
			if (!isNewest) return;
			this.#newest = sequence;
			this.#replica.copyBytes = bytes;
			await manager.streams.purge(this.#stream, { seq: sequence + 1 });
		} catch {
			// The log stays as long as it is, and the next one is tried when it has grown as much again.
		} finally {
			this.#copying = undefined;
		}
	}
}

/** Refused by the server: not stored. Without its answer nobody knows. */
function failureOf(thrown: unknown): StateFailed {
	const code = thrown instanceof Error && "code" in thrown ? Number(thrown.code) : Number.NaN;
	if (NO_ROOM.has(code)) return { ok: false, failure: "full", detail: messageOf(thrown) };
	if (code > 10_000 || (thrown instanceof Error && thrown.name === "NoRespondersError"))
		return { ok: false, failure: "unavailable", detail: messageOf(thrown) };
	return { ok: false, failure: "unknown", detail: `the connection broke: ${messageOf(thrown)}` };
}
