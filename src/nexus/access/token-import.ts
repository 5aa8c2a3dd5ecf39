/** Tokens that a node has made before it shared a state: into the state, each once, though the node be killed in between. */
import type { StateFile } from "../authority/state-file.ts";
import { put, remove, type StateStore } from "../state/state-store.ts";
import { TOKENS_TABLE } from "./state-tokens.ts";

/** How far each node has come: a token that was taken back meanwhile, at whatever node, does not come again. */
const IMPORTS = "token-imports";
/** In one commit, which may be of 128 writes and 384 KiB: a token with all its patterns has 10 KiB. */
const AT_ONCE = 30;

/** How many. Rejects with a readable error where state or file cannot be written. */
export async function importTokens(file: StateFile, state: StateStore, nodeId: string): Promise<number> {
	const read = await state.get(IMPORTS, nodeId);
	if (!read.ok) throw new Error(`the state cannot be read: ${read.detail}`);
	let mark = read.value?.revision ?? 0;
	const through = throughOf(read.value?.value);
	const left = file.current.tokens.filter(({ id }) => id > through).sort((a, b) => (a.id < b.id ? -1 : 1));
	for (let from = 0; from < left.length; from += AT_ONCE) {
		let tokens = left.slice(from, from + AT_ONCE);
		const last = tokens.at(-1)?.id;
		for (;;) {
			const writes = tokens.map((token) => put(TOKENS_TABLE, token.id, token, 0));
			const outcome = await state.commit([...writes, put(IMPORTS, nodeId, { through: last }, mark)]);
			if (outcome.ok) {
				mark = outcome.revision;
				break;
			}
			if (outcome.failure !== "conflict") throw new Error(`tokens cannot be brought into the state: ${outcome.detail}`);
			const there = new Set(outcome.conflicts.filter(({ table }) => table === TOKENS_TABLE).map(({ key }) => key));
			if (there.size === 0) throw new Error("tokens cannot be brought into the state: another process does so under the identity of this node");
			tokens = tokens.filter(({ id }) => !there.has(id));
		}
	}
	if (file.current.tokens.length > 0) {
		const fault = await file.change<never>((before) => ({ ...before, tokens: [] }));
		if (fault !== undefined) throw new Error(fault.words);
	}
	// Those that this node may make without the state, later, are others.
	if (mark !== 0) await state.commit([remove(IMPORTS, nodeId)]);
	return left.length;
}

function throughOf(value: unknown): string {
	return typeof value === "object" && value !== null && "through" in value && typeof value.through === "string" ? value.through : "";
}
