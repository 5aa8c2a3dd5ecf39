/** Events go on into another log. That one recognises what it has already, so that a double is none. */
import { messageOf } from "../../../core/errors.ts";
import { validateEvent } from "../../../events/cloud-event.ts";
import type { EventLog } from "../../log/event-log.ts";
import { ACK, type Entry, type Sink, type Verdict } from "../delivery.ts";
import { ANSWER_CHARS_MAX } from "../limits.ts";
import { untilCut } from "./until-cut.ts";

export class OtherLog implements Sink {
	readonly trouble = "";
	readonly #log: EventLog;

	constructor(log: EventLog) {
		this.#log = log;
	}

	readiness(): number {
		return 0;
	}

	async deliver({ json }: Entry, signal: AbortSignal): Promise<Verdict> {
		const verdict = validateEvent(JSON.parse(json.toString()));
		if (!verdict.ok) return { kind: "term", reason: verdict.reason };
		const { source, id, type, subject, priority, partitionkey } = verdict.event;
		const event = { source, id, type, subject, priority, partitionKey: partitionkey, start: 0, end: json.length };
		try {
			const outcome = await untilCut(this.#log.append({ bytes: json, events: [event] }), signal);
			if (outcome === undefined) return { kind: "nak", reason: "the log did not answer in time" };
			return outcome.ok ? ACK : { kind: "nak", reason: `the log is ${outcome.failure}: ${outcome.detail}` };
		} catch (thrown) {
			return { kind: "nak", reason: messageOf(thrown).slice(0, ANSWER_CHARS_MAX) };
		}
	}

	/** Whoever opened the log closes it. */
	async close(): Promise<void> {}
}
