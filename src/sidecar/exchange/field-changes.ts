/** Header changes of a route, ready for the request path: names that do not pass, and lines that are added. */
import { fieldLine } from "../../http1/serializer.ts";
import type { HeaderChanges } from "../../policy/traffic-policy.ts";

export interface FieldChanges {
	/** Lower case. */
	readonly removed: ReadonlySet<string>;
	/** Latin1 lines. */
	readonly lines: string;
}

/** Undefined where nothing is changed. */
export function fieldChanges({ set, add, remove }: HeaderChanges): FieldChanges | undefined {
	if (set.length === 0 && add.length === 0 && remove.length === 0) return undefined;
	const lines = [...set, ...add].map(({ name, value }) => fieldLine(name, value)).join("");
	return { removed: new Set([...remove, ...set.map(({ name }) => name)]), lines };
}
