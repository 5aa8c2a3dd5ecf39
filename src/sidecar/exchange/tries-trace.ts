/** What the tries of a request say in a decision trace; called only where somebody asked. */
import type { Reason } from "../../core/reasons.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import type { RetryPolicy } from "../../policy/resilience-policy.ts";
import type { Place } from "../../policy/snapshot.ts";
import { REFUSALS, type RetryRefusal } from "../../resilience/retry/retry-decision.ts";
import type { Try } from "../../upstream/try.ts";

export function answered(trace: DecisionLog, { number, endpoint }: Try, status: number): void {
	const data = { brief: `${number} ${status}` };
	trace.add("attempt", "yes", `try ${number} was answered with ${status} by ${endpoint?.key ?? "nobody"}`, undefined, data);
}

/** `place`: of the policy that let it fail, where one did. */
export function failed(
	trace: DecisionLog,
	{ number, endpoint, detail }: Try,
	reason: Reason | undefined,
	status: number,
	place: Place | undefined,
): void {
	const where = endpoint === undefined ? "" : ` at ${endpoint.key}`;
	const how = reason === undefined ? `answered with ${status}` : `${reason}${detail === "" ? "" : `, ${detail}`}`;
	trace.add("attempt", "no", `try ${number}${where}: ${how}`, place, { brief: `${number} ${reason ?? status}` });
}

/** Nobody waits for its answer any more. */
export function givenUp(trace: DecisionLog, { number, endpoint, sentMs }: Try): void {
	const where = endpoint === undefined ? "" : ` at ${endpoint.key}`;
	const how = sentMs === 0 ? "before it was sent" : "before it was answered";
	trace.add("attempt", "no", `try ${number}${where}: given up ${how}`, undefined, { brief: `${number} given-up` });
}

export function decision(trace: DecisionLog, why: RetryRefusal | undefined, delayMs: number, policy: RetryPolicy): void {
	if (why !== undefined) trace.add("retry", "no", `not tried again: ${REFUSALS[why]}`, policy.place, { brief: why });
	else trace.add("retry", "yes", delayMs === 0 ? "tried again at once" : `tried again after ${Math.round(delayMs)} ms`, policy.place);
}

export function hedge(trace: DecisionLog, granted: boolean, { hedge: policy }: RetryPolicy): void {
	trace.add(
		"hedge",
		granted ? "yes" : "no",
		granted ? "a second request is sent, as the first is slow" : "no second request: the hedge budget is used up",
		policy?.place,
	);
}
