/** A real Nexus process, started as a person starts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface NexusProcess {
	readonly child: ChildProcess;
	readonly url: string;
	/** Sends the signal and resolves once the process has ended. */
	stop(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Resolves when it says that it is ready; rejects with its last words when it ends before that. `nodeOptions`: of the runtime. */
export async function spawnNexus(args: readonly string[], nodeOptions: readonly string[] = []): Promise<NexusProcess> {
	const child = spawn(process.execPath, [...nodeOptions, MAIN, "serve", ...args], { stdio: ["ignore", "pipe", "pipe"] });
	const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
	let errors = "";
	child.stderr.on("data", (chunk) => (errors += String(chunk)));
	const lines = createInterface({ input: child.stdout });
	const ready = once(lines, "line") as Promise<[string]>;
	const first = await Promise.race([
		ready.then(([line]) => line),
		ended.then(([code]) => Promise.reject(new Error(`ended with ${code}: ${errors}`))),
	]);
	const url = /https?:\/\/\S+?(?=,)/.exec(first)?.[0];
	if (url === undefined) throw new Error(`no address in: ${first}`);
	return {
		child,
		url,
		async stop(signal) {
			child.kill(signal);
			const [code, by] = await ended;
			return { code, signal: by };
		},
	};
}
