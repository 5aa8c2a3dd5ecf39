/** What can be said of a JSONata expression without running it. */
import jsonata from "jsonata";
import { messageOf } from "../../../core/errors.ts";

/** Undefined where it parses. */
export function expressionFault(text: string): string | undefined {
	try {
		jsonata(text);
		return undefined;
	} catch (thrown) {
		const position = (thrown as { position?: unknown }).position;
		const message = thrown instanceof Error ? messageOf(thrown) : String((thrown as { message?: unknown }).message ?? thrown);
		return `is no JSONata: ${message}${typeof position === "number" ? `, at character ${position}` : ""}`;
	}
}
