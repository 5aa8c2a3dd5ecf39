/** The answers that the sidecar gives by itself: from a reason of the catalogue to a response, the same way for all. */
import { REASONS, type Reason } from "../../core/reasons.ts";
import { fieldLine, statusLine } from "../../http1/serializer.ts";
import { statusPhrase } from "../../http1/status-phrases.ts";
import type { StaticResponse } from "../../policy/resilience-policy.ts";

export interface LocalAnswer {
	readonly reason: Reason;
	readonly detail: string;
	readonly requestId: string;
	readonly close: boolean;
	readonly headRequest: boolean;
	readonly minorVersion: number;
	/** Where the reason alone does not say it: that of an injected fault. */
	readonly status?: number;
	/** Further field lines, such as retry-after. */
	readonly lines?: string;
}

/** Latin1 text of the whole answer: a problem document (RFC 9457) with `x-nexus-reason`. */
export function localAnswer(answer: LocalAnswer): string {
	const spec = REASONS[answer.reason];
	const status = answer.status ?? spec.status;
	const problem = {
		type: `urn:nexus-mesh:reason:${answer.reason}`,
		title: spec.title,
		status,
		reason: answer.reason,
		...(answer.detail === "" ? {} : { detail: answer.detail }),
		hint: spec.hint,
		...(answer.requestId === "" ? {} : { requestId: answer.requestId }),
	};
	// Ids come from clients and may hold any latin1 byte; escaped, the document is ASCII and its length is that of the string.
	const body = `${toAscii(JSON.stringify(problem))}\n`;
	return compose(answer, status, "application/problem+json", body, fieldLine("x-nexus-reason", answer.reason));
}

/** The same for what the policy itself answers; `lines` are further fields. */
export function policyAnswer(answer: Omit<LocalAnswer, "reason" | "detail">, response: StaticResponse, reason: Reason | undefined): string {
	const reasonLine = reason === undefined ? "" : fieldLine("x-nexus-reason", reason);
	return compose(answer, response.status, response.contentType, response.body, reasonLine);
}

/** Latin1; `body` has a character for each byte. */
function compose(answer: Omit<LocalAnswer, "reason" | "detail">, status: number, contentType: string, body: string, reasonLine: string): string {
	let head = statusLine(status, statusPhrase(status));
	// RFC 9110 8.6 and 15.3.5: 204 and 304 have no content, and say no length.
	const bodiless = status === 204 || status === 304;
	if (!bodiless) {
		if (contentType !== "") head += fieldLine("content-type", contentType);
		head += fieldLine("content-length", String(body.length));
	}
	head += reasonLine + (answer.lines ?? "");
	if (answer.requestId !== "") head += fieldLine("x-request-id", answer.requestId);
	if (answer.close) head += fieldLine("connection", "close");
	else if (answer.minorVersion === 0) head += fieldLine("connection", "keep-alive");
	return `${head}\r\n${answer.headRequest || bodiless ? "" : body}`;
}

function toAscii(json: string): string {
	return json.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
