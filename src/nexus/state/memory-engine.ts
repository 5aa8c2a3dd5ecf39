/** State that ends with the process: for tests, and for a Nexus without a data directory. */
import type { StateEngine } from "./engine.ts";
import { GROUP_MAX } from "./limits.ts";
import { Tables } from "./tables.ts";

export function memoryEngine(): StateEngine {
	const tables = new Tables();
	return {
		name: "memory",
		isShared: false,
		durability: "memory",
		groupMax: GROUP_MAX,
		write: async (group) => ({ ok: true, value: { ...tables.apply(group), durability: "memory" } }),
		get: async (table, key) => ({ ok: true, value: tables.get(table, key) }),
		list: async (table, span) => ({ ok: true, value: tables.list(table, span) }),
		changes: async (table, after, bytes) => ({ ok: true, value: tables.changes(table, after, bytes) }),
		cursors: async (span) => ({ ok: true, value: tables.cursors(span) }),
		// There are no others.
		onChange() {},
		async close() {},
	};
}
