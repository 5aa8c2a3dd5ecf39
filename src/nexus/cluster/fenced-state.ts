/** A state through which only the owner of a lease can write: every commit checks its fence, every cursor names it. Reads are open. */
import { fenceOf, type Lease } from "../state/leases.ts";
import type { CommitOutcome, CursorOutcome, StateStore, Write } from "../state/state-store.ts";

const NOT_HELD = Object.freeze({ ok: false, failure: "unavailable", detail: "another node does this" }) satisfies CommitOutcome & CursorOutcome;

/**
 * `leaseOf`: that which covers this key of a table, or this cursor (`table` undefined), as far as this node holds it; undefined: nothing is
 * written. What stands in one commit is covered by one lease.
 */
export function fencedState(state: StateStore, leaseOf: (table: string | undefined, key: string) => Lease | undefined): StateStore {
	return {
		engine: state.engine,
		capabilities: state.capabilities,
		get: (table, key) => state.get(table, key),
		list: (table, query) => state.list(table, query),
		changes: (table, after) => state.changes(table, after),
		onChange: (listener) => state.onChange(listener),
		cursor: (name) => state.cursor(name),
		cursors: (query) => state.cursors(query),
		stats: () => state.stats(),
		async commit(writes: readonly Write[]): Promise<CommitOutcome> {
			const [first] = writes;
			const lease = first === undefined ? undefined : leaseOf(first.table, first.key);
			if (lease === undefined) return NOT_HELD;
			const outcome = await state.commit([...writes, fenceOf(lease)]);
			const { table, key } = lease.fence;
			const isFenced = !outcome.ok && outcome.failure === "conflict" && outcome.conflicts.some((each) => each.table === table && each.key === key);
			return isFenced ? NOT_HELD : outcome;
		},
		async saveCursor(name, value, fence): Promise<CursorOutcome> {
			const lease = leaseOf(undefined, name);
			return lease === undefined ? NOT_HELD : state.saveCursor(name, value, fence ?? lease.fence);
		},
		// Whoever opened the state closes it.
		close: () => Promise.resolve(),
	};
}
