/** Consumers that take events themselves: who asks gets, in turn, and answers by token. */
import type { Clock } from "../../core/clock.ts";
import type { Entry, Verdict } from "./delivery.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { FETCH_BYTES_MAX, FETCHES_MAX } from "./limits.ts";
import { type Transform, verdictOf } from "./sinks/transformed.ts";

export interface Taken {
	readonly token: string;
	readonly sequence: number;
	readonly attempt: number;
	readonly receivedAtMs: number;
	readonly json: Buffer;
}

/** Somebody who takes events. */
export interface Taker {
	/** How many it would take now. */
	readonly wanted: number;
	/** Of how many bytes together; one event more may be beyond them. */
	readonly wantedBytes: number;
	give(entries: readonly Entry[]): void;
}

export interface Answers {
	readonly ack: readonly string[];
	readonly nak: readonly { readonly token: string; readonly delayMs?: number | undefined; readonly reason?: string | undefined }[];
	readonly term: readonly { readonly token: string; readonly reason?: string | undefined }[];
	readonly progress: readonly string[];
}

export interface ConsumersOptions {
	readonly transform: Transform | undefined;
	/** Nexus does, and the subscription with it. */
	readonly isStopping: () => boolean;
}

export interface AnswerResult {
	readonly settled: number;
	/** Tries that were over already, or are of another subscription: their events come again, or have been settled. */
	readonly unknown: readonly string[];
	/** Whether what was settled will be remembered after a crash. */
	readonly isDurable: boolean;
}

/** Events that one taker gets before the next one has its turn. */
const TURN = 32;
const BASE = 36;
const TOKEN = /^([0-9a-z]{1,11})-([0-9a-z]{1,11})-([0-9a-z]{1,4})$/;

export class Consumers {
	readonly #dispatcher: Dispatcher;
	readonly #life: number;
	readonly #transform: Transform | undefined;
	readonly #isStopping: () => boolean;
	/** In the order of their turns. */
	readonly #takers = new Set<Taker>();
	readonly #ends = new Set<() => void>();
	#isServing = false;
	/** The subscription has stopped, or is replaced by a changed one: whoever comes now is to come again. */
	isOver = false;

	constructor(dispatcher: Dispatcher, life: number, { transform, isStopping }: ConsumersOptions) {
		this.#dispatcher = dispatcher;
		this.#life = life;
		this.#transform = transform;
		this.#isStopping = isStopping;
		dispatcher.onReady = () => this.serve();
	}

	get takers(): number {
		return this.#takers.size;
	}

	get isFull(): boolean {
		return this.#takers.size >= FETCHES_MAX;
	}

	/** Called when it is over. The result forgets it. */
	onEnd(end: () => void): () => void {
		this.#ends.add(end);
		return () => void this.#ends.delete(end);
	}

	end(): void {
		this.isOver = true;
		for (const end of [...this.#ends]) end();
	}

	/** False where too many ask already. */
	add(taker: Taker): boolean {
		if (this.isFull) return false;
		this.#takers.add(taker);
		this.serve();
		return true;
	}

	remove(taker: Taker): void {
		this.#takers.delete(taker);
	}

	/** Gives what there is to those who want it. */
	serve(): void {
		if (this.#isServing) return;
		this.#isServing = true;
		for (let hasGiven = true; hasGiven; ) {
			hasGiven = false;
			for (const taker of [...this.#takers]) {
				const entries = this.#take(Math.min(TURN, taker.wanted), taker.wantedBytes);
				if (entries.length === 0) continue;
				hasGiven = true;
				// To the end of the line.
				if (this.#takers.delete(taker)) this.#takers.add(taker);
				taker.give(entries);
			}
		}
		this.#isServing = false;
	}

	/** What the taker may be shown; events that the transform refuses are settled here and left out. */
	async shown(entries: readonly Entry[]): Promise<Taken[]> {
		// A try may be over before its transform is, and the next one somebody else's.
		const tries = entries.map((entry) => ({ entry, attempt: entry.attempts, token: this.#token(entry) }));
		const taken: Taken[] = [];
		for (const { entry, attempt, token } of tries) {
			const { sequence, receivedAtMs, json } = entry;
			const transformed = await this.#transform?.(json);
			if (transformed !== undefined && !transformed.ok) this.#dispatcher.settle(entry, attempt, verdictOf(transformed));
			else taken.push({ token, sequence, attempt, receivedAtMs, json: transformed?.json ?? json });
		}
		return taken;
	}

	/** They were given away and nobody got them. Where we have sent the consumer away no try has failed: they are kept as open, and its answer counts. */
	giveBack(entries: readonly Entry[], reason: string): void {
		if (this.isOver || this.#isStopping()) return;
		for (const entry of entries) this.#dispatcher.settle(entry, entry.attempts, { kind: "nak", reason });
	}

	/** Resolves once what it settles is kept. */
	async answer({ ack, nak, term, progress }: Answers): Promise<AnswerResult> {
		const unknown: string[] = [];
		const note = (token: string, isKnown: boolean): void => void (isKnown || unknown.push(token));
		for (const token of ack) {
			const [sequence, attempt] = this.#parse(token) ?? [];
			note(token, sequence !== undefined && attempt !== undefined && this.#dispatcher.acknowledge(sequence, attempt));
		}
		for (const { token, delayMs, reason } of nak) {
			note(
				token,
				this.#settle(token, { kind: "nak", reason: reason ?? "the consumer did not take it", ...(delayMs === undefined ? {} : { delayMs }) }),
			);
		}
		for (const { token, reason } of term) note(token, this.#settle(token, { kind: "term", reason: reason ?? "the consumer will never take it" }));
		for (const token of progress)
			note(
				token,
				this.#onEntry(token, (entry, attempt) => this.#dispatcher.extend(entry, attempt)),
			);
		const settled = ack.length + nak.length + term.length + progress.length - unknown.length;
		return { settled, unknown, isDurable: settled === 0 || (await this.#dispatcher.saved()) };
	}

	#take(countMax: number, bytesMax: number): Entry[] {
		const entries: Entry[] = [];
		let bytes = 0;
		while (entries.length < countMax && bytes < bytesMax) {
			const entry = this.#dispatcher.take();
			if (entry === undefined) break;
			entries.push(entry);
			bytes += entry.json.length;
		}
		return entries;
	}

	#settle(token: string, verdict: Verdict): boolean {
		return this.#onEntry(token, (entry, attempt) => this.#dispatcher.settle(entry, attempt, verdict));
	}

	#onEntry(token: string, act: (entry: Entry, attempt: number) => boolean): boolean {
		const parsed = this.#parse(token);
		const entry = parsed === undefined ? undefined : this.#dispatcher.find(...parsed);
		return parsed !== undefined && entry !== undefined && act(entry, parsed[1]);
	}

	/** Also good after a restart: it names the event, the try, and the life of the subscription. */
	#token({ sequence, attempts }: Entry): string {
		return `${this.#life.toString(BASE)}-${sequence.toString(BASE)}-${attempts.toString(BASE)}`;
	}

	#parse(token: string): readonly [sequence: number, attempt: number] | undefined {
		const [, life = "", sequence = "", attempt = ""] = TOKEN.exec(token) ?? [];
		if (Number.parseInt(life, BASE) !== this.#life) return undefined;
		return [Number.parseInt(sequence, BASE), Number.parseInt(attempt, BASE)];
	}
}

/** One long poll: resolves with the first events, or with none when its time is over or its caller has gone. */
export function fetchOnce(
	consumers: Consumers,
	countMax: number,
	waitMs: number,
	clock: Clock,
): { entries: Promise<readonly Entry[] | "too_many">; end(): void } {
	const { promise, resolve } = Promise.withResolvers<readonly Entry[] | "too_many">();
	let wanted = countMax;
	let wantedBytes = FETCH_BYTES_MAX;
	const given: Entry[] = [];
	const taker: Taker = {
		get wanted() {
			return wanted;
		},
		get wantedBytes() {
			return wantedBytes;
		},
		give(entries) {
			wanted -= entries.length;
			for (const { json } of entries) wantedBytes -= json.length;
			given.push(...entries);
			// What else is ready comes in the same turn.
			if (given.length === entries.length) queueMicrotask(end);
		},
	};
	const end = (): void => {
		timer?.cancel();
		wanted = 0;
		consumers.remove(taker);
		resolve(given);
	};
	const timer = waitMs > 0 ? clock.setTimer(waitMs, end) : undefined;
	if (!consumers.add(taker)) {
		timer?.cancel();
		resolve("too_many");
	} else if (waitMs === 0) end();
	return { entries: promise, end };
}
