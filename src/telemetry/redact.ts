/** Makes any value fit to be shown: plain JSON without secrets. The log and the admin API share it. */
import { codeOf } from "../core/errors.ts";

export const REDACTED = "[redacted]";

// Names of fields and keys whose value is a secret. What names a file or a header is none.
const SECRET_NAME = /authorization|cookie|passw|secret|token|credential|api[-_]?key|private[-_]?key|^key$/i;
const HARMLESS_NAME = /(file|path|name|count|max|ms)$/i;
const USERINFO = /([a-z][a-z0-9+.-]*:\/\/)[^\s/?#@]+@/gi;
// Deeper than anything we show; a cycle ends here.
const DEPTH_MAX = 12;

/** A copy in plain JSON terms: maps become objects, errors their message, code and causes; secrets are replaced. */
export function redact(value: unknown): unknown {
	return plain(value, 0);
}

function plain(value: unknown, depth: number): unknown {
	if (typeof value === "string") return value.includes("@") ? value.replace(USERINFO, `$1${REDACTED}@`) : value;
	if (typeof value === "bigint") return value.toString();
	if (typeof value !== "object" || value === null) return value;
	if (depth >= DEPTH_MAX) return "[deeper]";
	if (value instanceof Error) return plainError(value, depth);
	if (value instanceof Date) return value.toISOString();
	if (Array.isArray(value) || value instanceof Set) return Array.from(value, (item) => plain(item, depth + 1));
	const entries = value instanceof Map ? value.entries() : Object.entries(value);
	const copy: Record<string, unknown> = {};
	for (const [key, item] of entries) copy[String(key)] = redactNamed(String(key), item, depth + 1);
	return copy;
}

/** A secret stands under its name, or as the `value` of the condition that is named so: `authorization: { kind: exact, value }`. */
function redactNamed(name: string, value: unknown, depth: number): unknown {
	if (isSecret(name, value)) return REDACTED;
	const shown = plain(value, depth);
	if (typeof value !== "object" || value === null || !("value" in value) || !isSecret(name, value.value)) return shown;
	return { ...(shown as Record<string, unknown>), value: REDACTED };
}

function plainError(error: Error, depth: number): unknown {
	const code = codeOf(error);
	return {
		message: plain(error.message, depth),
		...(code === undefined ? {} : { code }),
		...(error.cause === undefined ? {} : { cause: plain(error.cause, depth + 1) }),
		stack: plain(error.stack, depth),
	};
}

function isSecret(name: string, value: unknown): boolean {
	return (typeof value === "string" || Buffer.isBuffer(value)) && SECRET_NAME.test(name) && !HARMLESS_NAME.test(name);
}
