/** Answers of the local APIs: JSON and problem documents (RFC 9457). */
import type { ServerResponse } from "./server-response.ts";

export interface Problem {
	readonly status: number;
	readonly title: string;
	readonly detail?: string;
	/** A code that programs can rely on. */
	readonly reason?: string;
	/** One sentence for a person: what to change. */
	readonly hint?: string;
	/** Further members of the document (RFC 9457 section 3.2). */
	readonly extensions?: Readonly<Record<string, unknown>>;
}

/** Sends `body` as JSON. Does nothing where an answer has begun already. */
export function sendJson(res: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
	if (res.headersSent) return;
	res.writeHead(status, { ...headers, "content-type": "application/json" });
	res.end(JSON.stringify(body));
}

/** Sends an RFC 9457 problem document. Where an answer has begun already it can only be cut off, so the connection is. */
export function sendProblem(res: ServerResponse, problem: Problem, headers: Readonly<Record<string, string>> = {}): void {
	if (res.headersSent) {
		res.destroy();
		return;
	}
	res.writeHead(problem.status, { ...headers, "content-type": "application/problem+json" });
	res.end(problemText(problem));
}

/** The text of a problem document, for those who send it by other means. */
export function problemText(problem: Problem): string {
	const { status, title, detail, reason, hint, extensions } = problem;
	return JSON.stringify({ status, title, detail, reason, hint, ...extensions });
}
