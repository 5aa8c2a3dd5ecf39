/** How what became of events is told: the JSON of an acknowledgement, and the one table from failures to problem documents. */
import { assertNever } from "../../core/errors.ts";
import type { Problem } from "../../server/problem.ts";
import { REJECTED_SHOWN_MAX } from "../limits.ts";
import type { Published, PublishFailure } from "./publisher.ts";

export interface RejectedEvent {
	/** Position in the message. */
	readonly index: number;
	readonly reason: string;
}

/** Seconds; failures of disks and brokers pass no sooner. */
export const RETRY_SOON = { "retry-after": "1" };

/** The members of the answer, without its braces. By hand: nearly all of them have nothing to escape. */
export function publishedMembers({ accepted, duplicates, rejected, parked, sequence, durability }: Published): string {
	const refused = rejected.length === 0 ? "[]" : JSON.stringify(rejected);
	const beside = parked.length === 0 ? "" : `,"parked":${JSON.stringify(parked)}`;
	return `"accepted":${accepted},"duplicates":${duplicates},"rejected":${refused}${beside},"sequence":${sequence},"durability":"${durability}"`;
}

/** Whether all of it was refused: what HTTP calls a bad request. */
export function isNothingValid({ accepted, duplicates, parked }: Published): boolean {
	return accepted + duplicates + parked.length === 0;
}

export function nothingValid({ rejected }: Published): Problem {
	return {
		status: 400,
		title: "None of the events is valid.",
		detail: rejected[0]?.reason ?? "",
		reason: "bad_event",
		extensions: { rejected: rejected.slice(0, REJECTED_SHOWN_MAX) },
	};
}

/** All of it is beyond what its sender may publish. */
export function nothingAllowed({ rejected }: Published): Problem {
	return {
		status: 403,
		title: "The caller may publish none of the events.",
		detail: rejected[0]?.reason ?? "",
		reason: "unauthorized",
		extensions: { rejected: rejected.slice(0, REJECTED_SHOWN_MAX) },
	};
}

export function unreadable(status: 400 | 413 | 415, detail: string): Problem {
	return { status, title: UNREADABLE[status], detail, reason: "bad_event" };
}

const UNREADABLE = {
	400: "The request holds no events that can be read.",
	413: "The request is larger than the limit.",
	415: "This type of content is not taken.",
} as const;

export function failureProblem(outcome: PublishFailure): Problem {
	switch (outcome.failure) {
		case "full":
			return {
				status: 507,
				title: "The disk of the event log is full.",
				detail: outcome.detail,
				reason: "log_full",
				hint: "Nothing of this request was kept.",
			};
		case "io":
			return {
				status: 500,
				title: "The disk of the event log failed.",
				detail: outcome.detail,
				reason: "log_failed",
				hint: "Send the events again.",
			};
		case "unavailable":
			return {
				status: 503,
				title: "The event log cannot be reached.",
				detail: outcome.detail,
				reason: "log_unavailable",
				hint: "Send the events again.",
			};
		case "closed":
			return { status: 503, title: "Nexus is shutting down.", reason: "draining" };
		case "parking":
			return {
				status: 503,
				title: "Events that violate their schema could not be parked.",
				detail: outcome.detail,
				reason: "state_failed",
				hint: "Send all of them again: what was kept is recognised.",
			};
		case "overloaded":
			return {
				status: 429,
				title: "Nexus has more events in hand than it can make durable.",
				reason: "overloaded",
				hint: "Send again after the time in retry-after; larger batches cost less.",
			};
		default:
			return assertNever(outcome);
	}
}
