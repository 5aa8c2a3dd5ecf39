/** The target of a request in its normal form, put into the place of the one that came. */
import type { RequestParser } from "../../http1/request-parser.ts";
import { normalTarget } from "../../policy/path-normal.ts";
import { type Refusal, refusal } from "./stack.ts";

/** Why nobody could tell where it leads, or undefined. Costs one look at each character where it is normal already, as nearly always. */
export function normaliseTarget(request: RequestParser): Refusal | undefined {
	const normal = normalTarget(request.target);
	if (normal === request.target) return undefined;
	if (typeof normal !== "string") return refusal(normal.reason, normal.detail);
	request.target = normal;
	request.targetReplaced = true;
	return undefined;
}
