/** How a place in a policy is written: in traces, logs, events and answers. */
import type { Place } from "./snapshot.ts";

/** `file:line:column` */
export function placeText({ file, line, column }: Place): string {
	return `${file}:${line}:${column}`;
}
