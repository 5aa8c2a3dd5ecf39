/** Gathers the answers of a consumer: those of one moment go out as one message, and each learns whether Nexus has written it down. */
import type { AnswerReport, Answers } from "./subscription-shapes.ts";

/** Of one try. */
export type Answer =
	| { readonly kind: "ack" | "progress"; readonly token: string }
	| { readonly kind: "nak"; readonly token: string; readonly delay?: string; readonly reason?: string }
	| { readonly kind: "term"; readonly token: string; readonly reason?: string };

interface Pending {
	readonly answer: Answer;
	readonly settle: (isKept: boolean) => void;
}

/** Nexus takes 2,000 of a kind. */
const ANSWERS_MAX = 1000;
/** Nexus takes messages of 64 KiB. */
const BYTES_MAX = 48 * 1024;
/** What a reason and a delay may need around them. */
const ENVELOPE_BYTES = 64;

export class AnswerBatcher {
	readonly #send: (answers: Answers) => Promise<AnswerReport>;
	readonly #inFlightMax: number;
	#waiting: Pending[] = [];
	#inFlight = 0;
	#isScheduled = false;
	#onIdle: (() => void)[] = [];

	/** `inFlightMax`: messages without a report; what comes meanwhile waits and goes together. */
	constructor(send: (answers: Answers) => Promise<AnswerReport>, inFlightMax: number) {
		this.#send = send;
		this.#inFlightMax = inFlightMax;
	}

	/** True: it is written down. False: the event comes again, or has been answered for, or nobody knows. */
	add(answer: Answer): Promise<boolean> {
		return new Promise((settle) => {
			this.#waiting.push({ answer, settle });
			if (this.#isScheduled) return;
			this.#isScheduled = true;
			queueMicrotask(() => {
				this.#isScheduled = false;
				this.#flush();
			});
		});
	}

	/** Resolves once the fate of every answer is known. */
	async idle(): Promise<void> {
		if (this.#inFlight > 0 || this.#waiting.length > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
	}

	#flush(): void {
		while (this.#waiting.length > 0 && this.#inFlight < this.#inFlightMax) void this.#sendBatch(this.#takeBatch());
	}

	#takeBatch(): Pending[] {
		let bytes = 0;
		let count = 0;
		for (const { answer } of this.#waiting) {
			bytes += answer.token.length + ENVELOPE_BYTES + ("reason" in answer ? Buffer.byteLength(JSON.stringify(answer.reason)) : 0);
			if (count === ANSWERS_MAX || (count > 0 && bytes > BYTES_MAX)) break;
			count++;
		}
		return this.#waiting.splice(0, count);
	}

	async #sendBatch(batch: readonly Pending[]): Promise<void> {
		this.#inFlight++;
		let unknown: ReadonlySet<string> | undefined;
		try {
			unknown = new Set((await this.#send(messageOf(batch))).unknown);
		} catch {
			// Whether it was kept is not known: at least once, so the event may come again.
		}
		for (const { answer, settle } of batch) settle(unknown !== undefined && !unknown.has(answer.token));
		this.#inFlight--;
		this.#flush();
		if (this.#inFlight > 0) return;
		for (const tell of this.#onIdle.splice(0)) tell();
	}
}

function messageOf(batch: readonly Pending[]): Answers {
	const ack: string[] = [];
	const progress: string[] = [];
	const nak: Exclude<Answers["nak"], undefined>[number][] = [];
	const term: Exclude<Answers["term"], undefined>[number][] = [];
	for (const { answer } of batch) {
		if (answer.kind === "ack") ack.push(answer.token);
		else if (answer.kind === "progress") progress.push(answer.token);
		else {
			const { kind, ...rest } = answer;
			(kind === "nak" ? nak : term).push(rest);
		}
	}
	return {
		...(ack.length > 0 && { ack }),
		...(progress.length > 0 && { progress }),
		...(nak.length > 0 && { nak }),
		...(term.length > 0 && { term }),
	};
}
