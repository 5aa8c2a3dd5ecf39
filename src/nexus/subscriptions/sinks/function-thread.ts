/** The thread in which a handler runs: loads its module, calls it, says what became of it. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parentPort, workerData } from "node:worker_threads";
import type { CloudEvent } from "../../../events/cloud-event.ts";
import type { Verdict } from "../delivery.ts";
import { type EventHandler, verdictOfThrown } from "./in-process.ts";

export interface FunctionThreadData {
	/** URL. */
	readonly module: string;
	readonly name: string;
}

export interface FunctionJob {
	readonly id: number;
	readonly json: string;
	readonly sequence: number;
	readonly attempt: number;
}

/** First that its handler is called, then what became of it; `verdict` undefined: an acknowledgement. */
export type FunctionAnswer =
	| { readonly id: number; readonly kind: "begun" }
	| { readonly id: number; readonly kind: "ended"; readonly verdict: Verdict | undefined };

serve(workerData as FunctionThreadData);

function serve({ module, name }: FunctionThreadData): void {
	const loaded = load(module, name);
	// Whoever calls it hears of it.
	loaded.catch(() => {});
	parentPort?.on("message", async (job: FunctionJob) => {
		const verdict = await run(loaded, job);
		parentPort?.postMessage({ id: job.id, kind: "ended", verdict } satisfies FunctionAnswer);
	});
}

async function load(module: string, name: string): Promise<EventHandler> {
	// What this Nexus was started with; nothing that a document of the API could name.
	const exported = (createRequire(import.meta.url)(fileURLToPath(module)) as Record<string, unknown>)[name];
	if (typeof exported !== "function") throw new TypeError(`${module} exports no function ${name}`);
	return exported as EventHandler;
}

async function run(loaded: Promise<EventHandler>, { id, json, sequence, attempt }: FunctionJob): Promise<Verdict | undefined> {
	try {
		const handler = await loaded;
		parentPort?.postMessage({ id, kind: "begun" } satisfies FunctionAnswer);
		// Its lease is renewed by the other side, and a handler whose time is over ends with this thread.
		await handler(JSON.parse(json) as CloudEvent, { sequence, attempt, signal: new AbortController().signal, progress: () => {} });
		return undefined;
	} catch (thrown) {
		return verdictOfThrown(thrown);
	}
}
