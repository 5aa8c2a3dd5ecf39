/**
 * POST /v1/events: reads, checks, appends, and answers once the events are durable. On the server itself, before any router: it is the one path
 * of Nexus that runs thousands of times a second.
 */
import { parseEvents } from "../events/http-binding.ts";
import { type Problem, sendProblem } from "../server/problem.ts";
import { FIRST_BYTES_MAX, type Hold, type ServerRequest } from "../server/server-request.ts";
import type { ServerResponse } from "../server/server-response.ts";
import type { PublishScope } from "./access/publish-scope.ts";
import { BODY_BYTES_MAX } from "./limits.ts";
import { failureProblem, isNothingValid, nothingAllowed, nothingValid, publishedMembers, RETRY_SOON, unreadable } from "./publish/answer.ts";
import { EVENT_BYTES } from "./publish/limits.ts";
import type { PublishCounts, Publisher } from "./publish/publisher.ts";

export interface IngestCounts extends PublishCounts {
	readonly requests: number;
	readonly inFlightBytes: number;
}

const JSON_HEADERS = Object.freeze({ "content-type": "application/json" });

export class Ingest {
	readonly #publisher: Publisher;
	readonly #eventBytesMax: number;
	#requests = 0;

	constructor(publisher: Publisher, eventBytesMax: number = EVENT_BYTES) {
		this.#publisher = publisher;
		this.#eventBytesMax = eventBytesMax;
	}

	get counts(): IngestCounts {
		return { ...this.#publisher.counts, requests: this.#requests, inFlightBytes: this.#publisher.inFlight.bytes };
	}

	/** Answers the request in every case; rejects only for a fault of ours. `scope`: what its sender may publish; undefined: everything. */
	async handle(req: ServerRequest, res: ServerResponse, scope?: PublishScope): Promise<void> {
		this.#requests++;
		const { inFlight } = this.#publisher;
		let held = 0;
		const hold = (bytes: number): Problem | undefined => {
			const more = bytes - held;
			if (more <= 0) return undefined;
			if (!inFlight.hasRoomFor(more)) return failureProblem(this.#publisher.overload());
			inFlight.take(more, 0);
			held = bytes;
			return undefined;
		};
		// The rest of what is announced may never come: who sends nothing keeps nobody else out.
		const refusal = hold(Math.min(req.length ?? FIRST_BYTES_MAX, FIRST_BYTES_MAX));
		if (refusal !== undefined) {
			sendProblem(res, refusal, RETRY_SOON);
			return;
		}
		try {
			await this.#take(req, res, scope, hold);
		} finally {
			inFlight.giveBack(held, 0);
		}
	}

	async #take(req: ServerRequest, res: ServerResponse, scope: PublishScope | undefined, hold: Hold): Promise<void> {
		if ((req.header("content-encoding") ?? "identity") !== "identity") {
			sendProblem(res, unreadable(415, "Bodies are taken without content-encoding."));
			return;
		}
		const read = await req.body(BODY_BYTES_MAX, hold);
		if (!read.ok) {
			sendProblem(res, read.problem, read.problem.status === 429 ? RETRY_SOON : {});
			return;
		}
		const parsed = parseEvents(req, read.body, this.#eventBytesMax);
		if (!parsed.ok) {
			sendProblem(res, unreadable(parsed.status, parsed.reason));
			return;
		}
		const { members, refused } = scope === undefined ? { members: parsed.members, refused: 0 } : scope.narrow(parsed.members);
		const outcome = await this.#publisher.publish({ bytes: parsed.bytes, members });
		if (!outcome.ok) sendProblem(res, failureProblem(outcome), RETRY_SOON);
		else if (isNothingValid(outcome)) sendProblem(res, refused === members.length ? nothingAllowed(outcome) : nothingValid(outcome));
		else if (!res.headersSent) res.writeHead(200, JSON_HEADERS).end(`{${publishedMembers(outcome)}}`);
	}
}
