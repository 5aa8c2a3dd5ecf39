/** What a backup of the log takes along, as far as it is files of this node: state, tokens, deny list, who holds which certificate. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../../core/errors.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import type { Companion } from "../log/backup.ts";
import type { BesideLog } from "../log/backup-manifest.ts";
import type { StateStore } from "../state/state-store.ts";

/** Replaced as a whole whenever they change. Not the token of the first operator, which would be a secret in every copy. */
const IDENTITY: readonly BesideLog[] = ["identity.json", "workloads.json"];

/** Without `backup` the state is not in it. */
export function companionOf(state: Pick<StateStore, "engine" | "backup">, dataDir: string): Companion {
	return {
		async copyInto(dir) {
			const names: BesideLog[] = [];
			if (state.backup !== undefined) {
				const made = await state.backup(join(dir, "state.db"));
				if (!made.ok) throw new Error(`the state could not be copied: ${made.detail}`);
				names.push("state.db");
			}
			for (const name of IDENTITY) if (await isCopied(join(dataDir, name), join(dir, name))) names.push(name);
			return state.backup === undefined ? { names, missing: whyMissing(state.engine) } : { names };
		},
	};
}

function whyMissing(engine: string): string {
	if (engine === "memory") return "the state is not in it: it is kept in memory";
	if (engine === "sqlite") return "the state is not in it: there was none";
	return `the state is not in it: back it up by the means of ${engine}, before the log, as positions in it must not be ahead of the log's end`;
}

async function isCopied(from: string, to: string): Promise<boolean> {
	try {
		await writeSecretFile(to, await readFile(from, "utf8"));
		return true;
	} catch (thrown) {
		if (codeOf(thrown) === "ENOENT") return false;
		throw thrown;
	}
}
