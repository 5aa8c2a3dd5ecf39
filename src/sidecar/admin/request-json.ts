/** The JSON of a request to the admin API, bounded. */
import { messageOf } from "../../core/errors.ts";
import type { Problem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";

// Far more than the longest fault says, and nothing for a process to hold.
export const BODY_BYTES_MAX = 64 * 1024;

export type JsonResult = { readonly ok: true; readonly json: unknown } | { readonly ok: false; readonly problem: Problem };

/** What the body says, whatever its media type is; a problem where it is too large, incomplete, or not JSON in UTF-8 (RFC 8259). */
export async function readJson(req: ServerRequest): Promise<JsonResult> {
	const result = await req.body(BODY_BYTES_MAX);
	if (!result.ok) return result;
	try {
		const text = new TextDecoder("utf-8", { fatal: true }).decode(result.body);
		return { ok: true, json: JSON.parse(text) };
	} catch (thrown) {
		return { ok: false, problem: { status: 400, title: "The body is not JSON.", detail: messageOf(thrown), reason: "bad_request" } };
	}
}
