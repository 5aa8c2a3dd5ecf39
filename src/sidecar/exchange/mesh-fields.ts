/** The fields that sidecars say to each other: how much time a request has left, which try it is, and that trying again was in vain. */
import { X_NEXUS_ATTEMPT, X_NEXUS_DEADLINE } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldLine } from "../../http1/serializer.ts";
import { DEADLINE_HEADER, parseDeadline } from "../../resilience/deadline/deadline-header.ts";

/** Goes with an answer that says that something is wrong: who gave it has tried more than once. */
export const RETRIED_LINE = fieldLine("x-nexus-retried", "1");

// More tries than a person would configure; a larger number is nobody's mark.
const ATTEMPT_MAX = 99;

export function deadlineLine(remainingMs: number): string {
	return fieldLine(DEADLINE_HEADER, String(Math.max(0, Math.floor(remainingMs))));
}

export function attemptLine(number: number): string {
	return fieldLine("x-nexus-attempt", String(Math.min(number, ATTEMPT_MAX)));
}

/** What the caller gives the request; undefined where it does not say, or says nothing that makes sense. It can only shorten. */
export function callerDeadlineMs(request: RequestParser): number | undefined {
	if (!request.meaning.has(X_NEXUS_DEADLINE)) return undefined;
	return parseDeadline(request.fields.first(X_NEXUS_DEADLINE) ?? "");
}

/** Which try of its caller's it is; 1 where it does not say. It can only make us try less. */
export function callerAttemptOf(request: RequestParser): number {
	if (!request.meaning.has(X_NEXUS_ATTEMPT)) return 1;
	const value = request.fields.first(X_NEXUS_ATTEMPT) ?? "";
	return /^[1-9][0-9]?$/.test(value) ? Number(value) : 1;
}
