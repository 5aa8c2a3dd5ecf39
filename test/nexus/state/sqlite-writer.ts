/** Writes to a state for ever and says what was acknowledged, until somebody kills it. */
import { writeSync } from "node:fs";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { put } from "../../../src/nexus/state/state-store.ts";

const [file = "", round = ""] = process.argv.slice(2);
const opened = await openState({ engine: "sqlite", file });
if (!opened.ok) throw new Error(opened.detail);
const { store } = opened;

async function commitForEver(from: number, step: number): Promise<never> {
	for (let i = from; ; i += step) {
		const outcome = await store.commit([put("left", `${round}-${i}`, i, 0), put("right", `${round}-${i}`, i, 0)]);
		if (!outcome.ok) throw new Error(JSON.stringify(outcome));
		writeSync(1, `commit ${i} ${outcome.revision}\n`);
	}
}

async function moveForEver(): Promise<never> {
	for (let i = 0; ; i++) {
		const outcome = await store.saveCursor(`c${round}`, i);
		if (!outcome.ok) throw new Error(JSON.stringify(outcome));
		writeSync(1, `cursor ${i}\n`);
	}
}

await Promise.race([commitForEver(0, 3), commitForEver(1, 3), commitForEver(2, 3), moveForEver()]);
