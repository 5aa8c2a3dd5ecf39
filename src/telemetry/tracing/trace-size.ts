/** About how much memory a decision trace holds, so that what keeps traces can be bounded in bytes. */
import type { DecisionData, DecisionTrace } from "../../policy/decision-trace.ts";

// Objects, field slots and array cells of V8, roughly; strings count a byte a character.
const TRACE_BYTES = 400;
const DECISION_BYTES = 120;
const VALUE_BYTES = 40;
// `DecisionData` may nest; nothing that we say nests deeper, and a cycle must not hang us.
const DEPTH_MAX = 6;

export function traceBytes(trace: DecisionTrace): number {
	let bytes = TRACE_BYTES + trace.id.length + trace.method.length + trace.host.length + trace.target.length;
	bytes += trace.route.length + trace.upstream.length + trace.endpoint.length + trace.detail.length;
	for (const { text, data } of trace.decisions) bytes += DECISION_BYTES + text.length + (data === undefined ? 0 : valueBytes(data, 0));
	return bytes;
}

function valueBytes(value: DecisionData[string] | DecisionData, depth: number): number {
	if (typeof value === "string") return VALUE_BYTES + value.length;
	if (typeof value !== "object" || value === null || depth >= DEPTH_MAX) return VALUE_BYTES;
	let bytes = VALUE_BYTES;
	if (isList(value)) for (const item of value) bytes += valueBytes(item, depth + 1);
	else for (const key in value) bytes += key.length + valueBytes(value[key] ?? null, depth + 1);
	return bytes;
}

function isList(value: object): value is readonly (string | DecisionData)[] {
	return Array.isArray(value);
}
