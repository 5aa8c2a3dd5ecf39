/** Answers and bodies of the local APIs: JSON, problem documents (RFC 9457), and reading a body with a bound. */
import type { IncomingMessage, ServerResponse } from "node:http";

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

export type BodyResult = { readonly ok: true; readonly body: Buffer } | { readonly ok: false; readonly problem: Problem };

// A client that is a little over the limit should read the 413 rather than a reset: this much more is read and thrown away first.
const DISCARD_BYTES_MAX = 4 * 1024 * 1024;
const EMPTY = Buffer.alloc(0);
const ENDED_EARLY: BodyResult = { ok: false, problem: { status: 400, title: "The request body ended early.", reason: "bad_request" } };

/** Sends `body` as JSON. Does nothing where an answer has begun already. */
export function sendJson(res: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
	send(res, status, "application/json", JSON.stringify(body), headers);
}

/** Sends an RFC 9457 problem document. Where an answer has begun already it can only be cut off, so the connection is. */
export function sendProblem(res: ServerResponse, problem: Problem, headers: Readonly<Record<string, string>> = {}): void {
	if (res.headersSent) {
		res.destroy();
		return;
	}
	send(res, problem.status, "application/problem+json", problemText(problem), headers);
}

/** The text of a problem document, for those who send it by other means. */
export function problemText(problem: Problem): string {
	const { status, title, detail, reason, hint, extensions } = problem;
	return JSON.stringify({ status, title, detail, reason, hint, ...extensions });
}

/**
 * Reads a whole request body of at most `maxBytes`. 413 when it is larger (by its announced length, or while reading), 400 when the client
 * went away. Never rejects.
 */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<BodyResult> {
	const announced = req.headers["content-length"];
	if (announced !== undefined && Number(announced) > maxBytes + DISCARD_BYTES_MAX) return Promise.resolve(tooLarge(maxBytes));
	return new Promise((resolve) => {
		if (req.destroyed) {
			resolve(ENDED_EARLY);
			return;
		}
		let first: Buffer | undefined;
		let rest: Buffer[] | undefined;
		let bytes = 0;
		const finish = (result: BodyResult): void => {
			req.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
			resolve(result);
		};
		const onData = (chunk: Buffer): void => {
			bytes += chunk.length;
			if (bytes > maxBytes) {
				first = rest = undefined;
				if (bytes > maxBytes + DISCARD_BYTES_MAX) finish(tooLarge(maxBytes));
			} else if (first === undefined) first = chunk;
			else if (rest === undefined) rest = [first, chunk];
			else rest.push(chunk);
		};
		const onEnd = (): void => {
			if (bytes > maxBytes) finish(tooLarge(maxBytes));
			else finish({ ok: true, body: rest === undefined ? (first ?? EMPTY) : Buffer.concat(rest, bytes) });
		};
		const onClose = (): void => finish(ENDED_EARLY);
		req.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
	});
}

function tooLarge(maxBytes: number): BodyResult {
	return {
		ok: false,
		problem: {
			status: 413,
			title: "The request body is larger than the limit.",
			detail: `At most ${maxBytes} bytes are taken in one request.`,
			reason: "body_too_large",
		},
	};
}

function send(res: ServerResponse, status: number, contentType: string, text: string, headers: Readonly<Record<string, string>>): void {
	if (res.headersSent || res.destroyed) return;
	// What is left of the request must never be read as the next one.
	if (!res.req.complete) res.setHeader("connection", "close");
	res.writeHead(status, { ...headers, "content-type": contentType, "content-length": Buffer.byteLength(text) });
	res.end(res.req.method === "HEAD" ? undefined : text);
}
