/** State in memory. */
import assert from "node:assert/strict";
import { GroupedStore } from "../../../src/nexus/state/grouped-store.ts";
import { memoryEngine } from "../../../src/nexus/state/memory-engine.ts";
import { conformance } from "./conformance.ts";

conformance({
	name: "memory",
	durability: "memory",
	isShared: false,
	skip: false,
	isKept: false,
	async bench(t) {
		const store = new GroupedStore(memoryEngine());
		t.after(() => store.close());
		return { open: async () => store, restart: async () => assert.fail("there is nothing to come back to") };
	},
});
