/** An event that a handler has in hand, with the answers that it may be given. */
import type { CloudEvent } from "../events/cloud-event.ts";
import type { AnswerBatcher } from "./answer-batcher.ts";
import { durationText } from "./json-calls.ts";
import type { TakenEvent } from "./subscription-shapes.ts";

/** One try of one event, with the answers that it may have. Each resolves with whether that is written down; the first one of ack, nak and term counts. */
export interface Delivery<Data = unknown> extends TakenEvent<Data> {
	ack(): Promise<boolean>;
	/** Again: after the delay, or after the backoff of the subscription. */
	nak(how?: { readonly delayMs?: number; readonly reason?: string }): Promise<boolean>;
	/** Never again: it becomes a dead letter. */
	term(reason?: string): Promise<boolean>;
	/** Still at it: `ackWait` begins anew. */
	inProgress(): Promise<boolean>;
}

/** Nexus takes 1,024. */
const REASON_CHARS_MAX = 1024;

export class HeldDelivery implements Delivery {
	token: string;
	readonly sequence: number;
	attempt: number;
	readonly receivedAt: string;
	readonly event: CloudEvent;
	readonly #answers: AnswerBatcher;
	#answered: Promise<boolean> | undefined;
	#telling: Promise<boolean> | undefined;

	constructor({ token, sequence, attempt, receivedAt, event }: TakenEvent, answers: AnswerBatcher) {
		this.token = token;
		this.sequence = sequence;
		this.attempt = attempt;
		this.receivedAt = receivedAt;
		this.event = event;
		this.#answers = answers;
	}

	/** Not answered for. */
	get isOpen(): boolean {
		return this.#answered === undefined;
	}

	/** What is answered from now on counts for this try. */
	renew({ token, attempt }: TakenEvent): void {
		this.token = token;
		this.attempt = attempt;
	}

	ack(): Promise<boolean> {
		this.#answered ??= this.#answers.add({ kind: "ack", token: this.token });
		return this.#answered;
	}

	nak({ delayMs, reason }: { readonly delayMs?: number; readonly reason?: string } = {}): Promise<boolean> {
		const delay = delayMs === undefined ? {} : { delay: durationText(delayMs) };
		this.#answered ??= this.#answers.add({ kind: "nak", token: this.token, ...delay, ...reasonOf(reason) });
		return this.#answered;
	}

	term(reason?: string): Promise<boolean> {
		this.#answered ??= this.#answers.add({ kind: "term", token: this.token, ...reasonOf(reason) });
		return this.#answered;
	}

	inProgress(): Promise<boolean> {
		// One at a time: while Nexus is away there is nothing to tell it more than once.
		this.#telling ??= this.#answers.add({ kind: "progress", token: this.token }).finally(() => {
			this.#telling = undefined;
		});
		return this.#answered ?? this.#telling;
	}
}

function reasonOf(text: string | undefined): { readonly reason?: string } {
	return text === undefined || text === "" ? {} : { reason: text.slice(0, REASON_CHARS_MAX) };
}
