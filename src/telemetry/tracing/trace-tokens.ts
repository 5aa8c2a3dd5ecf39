/** `x-nexus-trace: <token>`: the id under which whoever may ask finds the trace of a request. */
export const TRACE_HEADER = "x-nexus-trace";

/** Stands in a path and in a header: nothing in it needs an escape. */
export function isTraceToken(text: string): boolean {
	return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}
