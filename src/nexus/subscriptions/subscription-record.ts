/** A subscription as the state keeps it. */
import type { Entry, StateStore } from "../state/state-store.ts";
import type { Start } from "./start-position.ts";

export const SUBSCRIPTIONS_TABLE = "subscriptions";

export interface SubscriptionRecord {
	/** As it was given; it has passed the schema of the version that took it. */
	readonly document: Record<string, unknown>;
	/** Another number whenever it begins somewhere anew: progress and tokens of another life are not its own. */
	readonly life: number;
	readonly start: Start;
	/** Wall clock. */
	readonly createdAtMs: number;
	readonly updatedAtMs: number;
	/** Undefined: it runs. */
	readonly paused?: { readonly sinceMs: number; readonly reason: string };
}

/** Undefined where it is none, or of a version that nobody knows. */
export function recordOf(value: unknown): SubscriptionRecord | undefined {
	if (typeof value !== "object" || value === null) return undefined;
	const record = value as Partial<SubscriptionRecord>;
	const isOne = typeof record.document === "object" && Number.isSafeInteger(record.life) && Number.isSafeInteger(record.start?.position);
	return isOne ? (record as SubscriptionRecord) : undefined;
}

/** All that the table holds, page by page; rejects where the state cannot be read. */
export async function* recordPages(state: StateStore, limit: number): AsyncGenerator<readonly Entry[]> {
	for (let after: string | undefined; ; ) {
		const page = await state.list(SUBSCRIPTIONS_TABLE, { limit, ...(after === undefined ? {} : { after }) });
		if (!page.ok) throw new Error(`the subscriptions could not be read: ${page.detail}`);
		yield page.value.entries;
		after = page.value.next;
		if (after === undefined) return;
	}
}
