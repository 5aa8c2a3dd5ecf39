/**
 * POST /v1/events: reads, checks, appends, and answers once the events are durable. On the server itself, before any router: it is the one path
 * of Nexus that runs thousands of times a second.
 */
import { assertNever } from "../core/errors.ts";
import { type EventMember, parseEvents } from "../events/http-binding.ts";
import { type Problem, sendJson, sendProblem } from "../server/problem.ts";
import type { ServerRequest } from "../server/server-request.ts";
import type { ServerResponse } from "../server/server-response.ts";
import { BODY_BYTES_MAX, IN_FLIGHT_BYTES_MAX, REJECTED_SHOWN_MAX } from "./limits.ts";
import type { AppendOutcome, EventLog, NewEvent } from "./log/event-log.ts";

export interface RejectedEvent {
	/** Position in the request. */
	readonly index: number;
	readonly reason: string;
}

export interface IngestCounts {
	readonly requests: number;
	readonly rejectedEvents: number;
	/** Requests answered 429. */
	readonly overloaded: number;
	readonly inFlightBytes: number;
}

const RETRY_SOON = { "retry-after": "1" };

export class Ingest {
	readonly #log: EventLog;
	readonly #inFlightBytesMax: number;
	#requests = 0;
	#rejectedEvents = 0;
	#overloaded = 0;
	#inFlightBytes = 0;

	constructor(log: EventLog, inFlightBytesMax: number = IN_FLIGHT_BYTES_MAX) {
		this.#log = log;
		this.#inFlightBytesMax = inFlightBytesMax;
	}

	get counts(): IngestCounts {
		return {
			requests: this.#requests,
			rejectedEvents: this.#rejectedEvents,
			overloaded: this.#overloaded,
			inFlightBytes: this.#inFlightBytes,
		};
	}

	/** Answers the request in every case; rejects only for a fault of ours. */
	async handle(req: ServerRequest, res: ServerResponse): Promise<void> {
		this.#requests++;
		// What is not announced may be as large as anything.
		const bytes = Math.min(req.length ?? BODY_BYTES_MAX, BODY_BYTES_MAX);
		if (this.#inFlightBytes + bytes > this.#inFlightBytesMax) {
			this.#overloaded++;
			sendProblem(res, OVERLOADED, RETRY_SOON);
			return;
		}
		this.#inFlightBytes += bytes;
		try {
			await this.#take(req, res);
		} finally {
			this.#inFlightBytes -= bytes;
		}
	}

	async #take(req: ServerRequest, res: ServerResponse): Promise<void> {
		if ((req.header("content-encoding") ?? "identity") !== "identity") {
			sendProblem(res, { status: 415, title: TITLES[415], detail: "Bodies are taken without content-encoding.", reason: "bad_event" });
			return;
		}
		const read = await req.body(BODY_BYTES_MAX);
		if (!read.ok) {
			sendProblem(res, read.problem);
			return;
		}
		const parsed = parseEvents(req, read.body);
		if (!parsed.ok) {
			sendProblem(res, { status: parsed.status, title: TITLES[parsed.status], detail: parsed.reason, reason: "bad_event" });
			return;
		}
		const { events, rejected } = sort(parsed.members);
		this.#rejectedEvents += rejected.length;
		if (events.length === 0) {
			sendProblem(res, nothingValid(rejected));
			return;
		}
		const outcome = await this.#log.append({ bytes: parsed.bytes, events });
		if (!outcome.ok) sendProblem(res, failureProblem(outcome), RETRY_SOON);
		else {
			const { accepted, duplicates, sequence, durability } = outcome;
			sendJson(res, 200, { accepted, duplicates, rejected, sequence, durability });
		}
	}
}

const TITLES = {
	400: "The request holds no events that can be read.",
	413: "The request is larger than the limit.",
	415: "This type of content is not taken.",
} as const;

const OVERLOADED: Problem = {
	status: 429,
	title: "Nexus has more events in hand than it can make durable.",
	reason: "overloaded",
	hint: "Send again after the time in retry-after; larger batches cost less.",
};

function sort(members: readonly EventMember[]): { events: NewEvent[]; rejected: RejectedEvent[] } {
	const events: NewEvent[] = [];
	const rejected: RejectedEvent[] = [];
	for (let index = 0; index < members.length; index++) {
		const member = members[index] as EventMember;
		if (member.ok) {
			const { source, id, type, subject, priority, partitionkey } = member.event;
			events.push({ source, id, type, subject, priority, partitionKey: partitionkey, start: member.start, end: member.end });
		} else rejected.push({ index, reason: member.reason });
	}
	return { events, rejected };
}

function nothingValid(rejected: readonly RejectedEvent[]): Problem {
	return {
		status: 400,
		title: "None of the events is valid.",
		detail: rejected[0]?.reason ?? "",
		reason: "bad_event",
		extensions: { rejected: rejected.slice(0, REJECTED_SHOWN_MAX) },
	};
}

function failureProblem({ failure, detail }: AppendOutcome & { ok: false }): Problem {
	switch (failure) {
		case "full":
			return { status: 507, title: "The disk of the event log is full.", detail, reason: "log_full", hint: "Nothing of this request was kept." };
		case "io":
			return { status: 500, title: "The disk of the event log failed.", detail, reason: "log_failed", hint: "Send the events again." };
		case "unavailable":
			return { status: 503, title: "The event log cannot be reached.", detail, reason: "log_unavailable", hint: "Send the events again." };
		case "closed":
			return { status: 503, title: "Nexus is shutting down.", reason: "draining" };
		default:
			return assertNever(failure);
	}
}
