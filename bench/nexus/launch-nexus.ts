/** A `nexus serve` of its own core, as a user starts it. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Child, freePorts, type Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";

export interface LaunchedNexus {
	readonly child: Child;
	readonly port: number;
	/** From the start of the process to the first good answer of /readyz. */
	readonly readyMs: number;
}

/** With its cache of compiled sources, which the first start of a checkout fills. */
const PROGRAM = fileURLToPath(new URL("../../bin/nexus", import.meta.url));

/** `dataDir`: one that is there already; it keeps all that is in it, however much. */
export async function launchNexus(workspace: Workspace, core: number, dataDir?: string): Promise<LaunchedNexus> {
	const [port = 0] = await freePorts(1);
	const config = workspace.file("nexus.yaml");
	writeFileSync(config, `listen: 127.0.0.1:${port}\ndata: ${dataDir ?? workspace.file("nexus-data")}\nretention: { maxBytes: 100GiB }\n`);
	const startedAt = performance.now();
	const child = await workspace.start("nexus", core, { command: process.execPath, args: [PROGRAM, "serve", "--config", config] });
	await waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, child);
	return { child, port, readyMs: performance.now() - startedAt };
}

/** Asks its API for something; rejects for an answer that is not 2xx. */
export async function askNexus(port: number, method: string, path: string, body?: unknown): Promise<string> {
	const headers = { "content-type": "application/json" };
	const response = await fetch(`http://127.0.0.1:${port}${path}`, {
		method,
		...(body === undefined ? {} : { headers, body: JSON.stringify(body) }),
	});
	const text = await response.text();
	if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
	return text;
}
