/** A function of this process as a receiver: what it returns is an acknowledgement, what it throws is none. */
import { messageOf } from "../../../core/errors.ts";
import type { CloudEvent } from "../../../events/cloud-event.ts";
import { ACK, type Entry, type Sink, type Verdict } from "../delivery.ts";
import { ANSWER_CHARS_MAX } from "../limits.ts";

export interface HandlerContext {
	readonly sequence: number;
	/** 1 for the first. */
	readonly attempt: number;
	/** The time for it is over, or Nexus stops: what it does from now on does not count. */
	readonly signal: AbortSignal;
	/** It is still at it: its time begins anew. */
	readonly progress: () => void;
}

/** Rejecting, or throwing, is a nak. An error with `isFinal: true` ends all tries; one with `retryInMs` says when to come again. */
export type EventHandler = (event: CloudEvent, context: HandlerContext) => void | Promise<void>;

/** On the loop of Nexus: for what is short and waits for I/O. See function-threads.ts for the rest. */
export class InProcess implements Sink {
	readonly trouble = "";
	readonly #handler: EventHandler;

	constructor(handler: EventHandler) {
		this.#handler = handler;
	}

	readiness(): number {
		return 0;
	}

	async deliver({ json, sequence, attempts }: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict> {
		const cut = Promise.withResolvers<never>();
		const onAbort = (): void => cut.reject(new Error("it took longer than ackWait"));
		signal.addEventListener("abort", onAbort);
		try {
			const event = JSON.parse(json.toString()) as CloudEvent;
			await Promise.race([this.#handler(event, { sequence, attempt: attempts, signal, progress }), cut.promise]);
			return ACK;
		} catch (thrown) {
			return verdictOfThrown(thrown);
		} finally {
			signal.removeEventListener("abort", onAbort);
		}
	}

	async close(): Promise<void> {}
}

export function verdictOfThrown(thrown: unknown): Verdict {
	const { isFinal, retryInMs } = (typeof thrown === "object" && thrown !== null ? thrown : {}) as { isFinal?: unknown; retryInMs?: unknown };
	const reason = messageOf(thrown).slice(0, ANSWER_CHARS_MAX);
	if (isFinal === true) return { kind: "term", reason };
	return typeof retryInMs === "number" && retryInMs >= 0 ? { kind: "nak", reason, delayMs: retryInMs } : { kind: "nak", reason };
}
