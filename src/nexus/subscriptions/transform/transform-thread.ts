/** The thread in which transforms run: whatever an expression does, it does it there, and the thread can be ended. */

import { parentPort } from "node:worker_threads";
import jsonata, { type Expression } from "jsonata";

export interface TransformJob {
	readonly expression: string;
	/** Of the event. */
	readonly json: string;
}

/** `json` undefined: it gave nothing. */
export type TransformAnswer = { readonly json: string | undefined } | { readonly error: string };

const COMPILED_MAX = 256;

serve(new Map());

function serve(compiled: Map<string, Expression>): void {
	parentPort?.on("message", ({ expression, json }: TransformJob) => {
		void evaluate(compiled, expression, json).then((answer) => parentPort?.postMessage(answer));
	});
	parentPort?.postMessage("ready");
}

async function evaluate(compiled: Map<string, Expression>, expression: string, json: string): Promise<TransformAnswer> {
	try {
		let ready = compiled.get(expression);
		if (ready === undefined) {
			if (compiled.size >= COMPILED_MAX) compiled.clear();
			ready = jsonata(expression);
			compiled.set(expression, ready);
		}
		return { json: JSON.stringify(await ready.evaluate(JSON.parse(json))) };
	} catch (thrown) {
		// JSONata throws objects that are no errors.
		const { message } = thrown as { message?: unknown };
		return { error: typeof message === "string" ? message : String(thrown) };
	}
}
