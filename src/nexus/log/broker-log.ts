/**
 * An event log that stands on a broker: groups what arrives together, keeps one order, answers once the event can be read. What is special to
 * one broker stands in its own file (see broker.ts), what the log knows of it in broker-tail.ts.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Broker, BrokerAppend, BrokerEvent, Receipt } from "./broker.ts";
import { BrokerTail, recoverIdentities } from "./broker-tail.ts";
import type { LogCapabilities } from "./capabilities.ts";
import type { AppendBatch, AppendOutcome, EventLog, LogStats, ReadQuery, ReadResult, RetentionLimits } from "./event-log.ts";
import { type IdentityWindow, identityOf } from "./identity-window.ts";
import { scanRecords } from "./record-scan.ts";

export interface BrokerLogOptions {
	readonly broker: Broker;
	readonly clock: Clock;
	readonly log: Logger;
	/** Applied every minute where the broker can be told to forget. */
	readonly retention?: RetentionLimits;
	/** Where the broker does not recognise what it has already; see IdentityWindow. */
	readonly dedupesHere: boolean;
}

/** One request to the broker. Larger ones cost no less per event, and a slow link holds up fewer senders. */
const GROUP_EVENTS_MAX = 1024;
const GROUP_BYTES_MAX = 1024 * 1024;
/** Events that wait for a broker that is slow; more is refused. As much as ingest takes in hand. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;
const RETENTION_CHECK_MS = 60_000;

/** Rejects with a readable error where the broker cannot be reached. Closes the broker with the log, and also then. */
export async function openBrokerLog(options: BrokerLogOptions): Promise<EventLog> {
	const { broker, clock, log, dedupesHere } = options;
	try {
		const bounds = await broker.bounds();
		const window = dedupesHere ? await recoverIdentities(broker, bounds) : undefined;
		return new BrokerLog(options, window, new BrokerTail({ broker, clock, log, window }, bounds));
	} catch (thrown) {
		await broker.close();
		throw thrown;
	}
}

interface Waiting {
	readonly events: readonly BrokerEvent[];
	readonly bytes: number;
	readonly receivedAtMs: number | undefined;
	readonly resolve: (outcome: AppendOutcome) => void;
}

class BrokerLog implements EventLog {
	readonly capabilities: LogCapabilities;
	readonly #options: BrokerLogOptions;
	readonly #window: IdentityWindow | undefined;
	readonly #tail: BrokerTail;
	readonly #counts = { commits: 0, appended: 0, duplicates: 0, failures: 0 };
	#waiting: Waiting[] = [];
	#pendingBytes = 0;
	#sending: Promise<void> | undefined;
	#isFailing = false;
	#closing: Promise<void> | undefined;
	#retentionTimer: Timer | undefined;

	constructor(options: BrokerLogOptions, window: IdentityWindow | undefined, tail: BrokerTail) {
		this.capabilities = options.broker.capabilities;
		this.#options = options;
		this.#window = window;
		this.#tail = tail;
		this.#scheduleRetention();
	}

	append({ bytes, events, receivedAtMs }: AppendBatch): Promise<AppendOutcome> {
		if (this.#closing !== undefined) return Promise.resolve(CLOSED);
		if (this.#tail.down !== undefined) return Promise.resolve({ ok: false, failure: "unavailable", detail: this.#tail.down });
		if (this.#pendingBytes + bytes.length > PENDING_BYTES_MAX) {
			return Promise.resolve({ ok: false, failure: "unavailable", detail: "more waits for the broker than it takes" });
		}
		const copy = Buffer.from(bytes);
		const taken = events.map((event): BrokerEvent => {
			return { identity: identityOf(event.source, event.id), key: event.partitionKey, json: copy.subarray(event.start, event.end) };
		});
		this.#pendingBytes += bytes.length;
		return new Promise((resolve) => {
			this.#waiting.push({ events: taken, bytes: bytes.length, receivedAtMs, resolve });
			this.#sending ??= this.#sendAll();
		});
	}

	read(query: ReadQuery): Promise<ReadResult> {
		return scanRecords(this.#tail.source(), query);
	}

	onCommit(listener: () => void): () => void {
		return this.#tail.onEvents(listener);
	}

	async truncate(limits: RetentionLimits): Promise<void> {
		if (!this.capabilities.features.truncateNow.has) throw new Error(`the log ${this.capabilities.backend} cannot be truncated at once`);
		const { broker, clock } = this.#options;
		await this.#tail.refreshBounds();
		const { first, last, bytes } = this.#tail;
		let keepFrom = first;
		if (Number.isFinite(limits.ageMsMax)) keepFrom = Math.max(keepFrom, (await broker.sequenceAt(clock.wallMs() - limits.ageMsMax)) ?? last + 1);
		if (limits.eventsMax !== undefined) keepFrom = Math.max(keepFrom, last - limits.eventsMax + 1);
		if (bytes > limits.bytesMax) keepFrom = Math.max(keepFrom, last + 1 - Math.floor((last - first + 1) * (limits.bytesMax / bytes)));
		if (keepFrom <= first) return;
		await broker.removeBefore(keepFrom);
		await this.#tail.refreshBounds();
	}

	stats(): LogStats {
		return {
			...this.#counts,
			firstSequence: this.#tail.first,
			lastSequence: this.#tail.last,
			bytes: this.#tail.bytes,
			segments: 0,
			isFailing: this.#isFailing || this.#tail.down !== undefined,
			damagedBlocks: 0,
			pendingBytes: this.#pendingBytes,
		};
	}

	close(): Promise<void> {
		this.#closing ??= (async () => {
			this.#retentionTimer?.cancel();
			while (this.#sending !== undefined) await this.#sending;
			await this.#tail.close();
		})();
		return this.#closing;
	}

	async #sendAll(): Promise<void> {
		// What else has arrived in this turn of the loop belongs to the same request.
		await new Promise((resolve) => setImmediate(resolve));
		while (this.#waiting.length > 0) {
			const group = this.#takeGroup();
			await this.#send(group);
		}
		this.#sending = undefined;
	}

	/** The next batches, in order, as far as they go together. */
	#takeGroup(): readonly Waiting[] {
		let events = 0;
		let bytes = 0;
		let count = 0;
		for (const batch of this.#waiting) {
			const isFull = count > 0 && (events + batch.events.length > GROUP_EVENTS_MAX || bytes + batch.bytes > GROUP_BYTES_MAX);
			if (isFull || batch.receivedAtMs !== this.#waiting[0]?.receivedAtMs) break;
			events += batch.events.length;
			bytes += batch.bytes;
			count++;
		}
		return this.#waiting.splice(0, count);
	}

	async #send(group: readonly Waiting[]): Promise<void> {
		const receipts = new Map<string, Receipt>();
		const fresh: BrokerEvent[] = [];
		let result: BrokerAppend;
		try {
			// What waited behind an append that has failed does not find out by itself.
			if (this.#tail.down !== undefined) throw new Error(this.#tail.down);
			await this.#tail.settleDoubt();
			const seen = new Set<string>();
			for (const event of group.flatMap(({ events }) => events)) {
				const known = this.#window?.get(event.identity);
				if (known !== undefined) receipts.set(event.identity, { sequence: known, isDuplicate: true });
				else if (!seen.has(event.identity)) fresh.push(event);
				seen.add(event.identity);
			}
			const receivedAtMs = group[0]?.receivedAtMs ?? Math.trunc(this.#options.clock.wallMs());
			result = fresh.length === 0 ? { ok: true, receipts: [] } : await this.#tail.whileUp(this.#options.broker.append(fresh, receivedAtMs));
		} catch (thrown) {
			result = { ok: false, failure: "unavailable", detail: messageOf(thrown) };
		}
		if (!result.ok) {
			this.#refuse(group, result);
			return;
		}
		this.#isFailing = false;
		this.#counts.commits++;
		result.receipts.forEach((receipt, i) => {
			const { identity } = fresh[i] as BrokerEvent;
			receipts.set(identity, receipt);
			this.#window?.add(identity, receipt.sequence);
		});
		void this.#acknowledge(group, receipts);
	}

	#refuse(group: readonly Waiting[], failed: BrokerAppend & { ok: false }): void {
		if (!this.#isFailing) this.#options.log.error("the broker does not take events; they are refused until it does", { error: failed.detail });
		this.#isFailing = true;
		this.#tail.doubt();
		this.#counts.failures++;
		for (const { bytes, resolve } of group) {
			this.#pendingBytes -= bytes;
			resolve(failed);
		}
	}

	async #acknowledge(group: readonly Waiting[], receipts: ReadonlyMap<string, Receipt>): Promise<void> {
		const outcomes = group.map(({ events }): { accepted: number; duplicates: number; sequence: number } => {
			const outcome = { accepted: 0, duplicates: 0, sequence: 0 };
			for (const { identity } of events) {
				const receipt = receipts.get(identity) as Receipt;
				outcome.sequence = Math.max(outcome.sequence, receipt.sequence);
				if (receipt.isDuplicate) outcome.duplicates++;
				else {
					outcome.accepted++;
					// Once more in the same request, it is one that was there.
					(receipts as Map<string, Receipt>).set(identity, { sequence: receipt.sequence, isDuplicate: true });
				}
			}
			return outcome;
		});
		await this.#tail.untilReadable(outcomes.reduce((max, { sequence }) => Math.max(max, sequence), 0));
		group.forEach(({ bytes, resolve }, i) => {
			const outcome = outcomes[i] as (typeof outcomes)[0];
			this.#pendingBytes -= bytes;
			this.#counts.appended += outcome.accepted;
			this.#counts.duplicates += outcome.duplicates;
			resolve({ ok: true, ...outcome, durability: this.capabilities.durability });
		});
	}

	#scheduleRetention(): void {
		const { retention, clock, log } = this.#options;
		this.#retentionTimer = clock.setTimer(RETENTION_CHECK_MS, () => {
			const done = retention === undefined || !this.capabilities.features.truncateNow.has ? this.#tail.refreshBounds() : this.truncate(retention);
			done
				.catch((thrown: unknown) => log.warn("the log could not be held within its limits; trying again later", { error: messageOf(thrown) }))
				.finally(() => {
					if (this.#closing === undefined) this.#scheduleRetention();
				});
		});
	}
}

const CLOSED: AppendOutcome = Object.freeze({ ok: false, failure: "closed", detail: "the log is closing" });
