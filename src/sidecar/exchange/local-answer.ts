/** The answers that the sidecar gives by itself: from a reason of the catalogue to a response, the same way for all. */
import { REASONS, type Reason } from "../../core/reasons.ts";
import { fieldLine, statusLine } from "../../http1/serializer.ts";
import { statusPhrase } from "../../http1/status-phrases.ts";

export interface LocalAnswer {
	readonly reason: Reason;
	readonly detail: string;
	readonly requestId: string;
	readonly close: boolean;
	readonly headRequest: boolean;
	readonly minorVersion: number;
}

/** Latin1 text of the whole answer: a problem document (RFC 9457) with `x-nexus-reason`. */
export function localAnswer(answer: LocalAnswer): string {
	const spec = REASONS[answer.reason];
	const problem = {
		type: `urn:nexus-mesh:reason:${answer.reason}`,
		title: spec.title,
		status: spec.status,
		reason: answer.reason,
		...(answer.detail === "" ? {} : { detail: answer.detail }),
		hint: spec.hint,
		...(answer.requestId === "" ? {} : { requestId: answer.requestId }),
	};
	// Ids come from clients and may hold any latin1 byte; escaped, the document is ASCII and its length is that of the string.
	const body = `${toAscii(JSON.stringify(problem))}\n`;
	let head = statusLine(spec.status, statusPhrase(spec.status));
	head += fieldLine("content-type", "application/problem+json");
	head += fieldLine("content-length", String(body.length));
	head += fieldLine("x-nexus-reason", answer.reason);
	if (answer.requestId !== "") head += fieldLine("x-request-id", answer.requestId);
	if (answer.close) head += fieldLine("connection", "close");
	else if (answer.minorVersion === 0) head += fieldLine("connection", "keep-alive");
	return `${head}\r\n${answer.headRequest ? "" : body}`;
}

function toAscii(json: string): string {
	return json.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
