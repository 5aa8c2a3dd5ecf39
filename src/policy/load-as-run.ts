/** A policy file as its sidecar would run it: with the copy of Nexus' policy that the sidecar has kept, where there is one. */
import { join } from "node:path";
import type { Env } from "./env.ts";
import { KEPT_FILE, readKept } from "./kept-copy.ts";
import { nexusFile } from "./layers.ts";
import type { LoadResult } from "./load.ts";
import { loadPolicyFile, readTextFile } from "./load-file.ts";

export interface LoadedAsRun {
	/** Of the file itself; empty where a fault may stand elsewhere. */
	readonly text: string;
	readonly result: LoadResult;
	/** One sentence on the copy, where the file asks Nexus for more: which one it is, or why there is none. */
	readonly note: string | undefined;
}

/** Rejects never. */
export async function loadPolicyAsRun(file: string, env: Env, version: number): Promise<LoadedAsRun> {
	const own = await loadPolicyFile(file, env, version);
	const source = own.result.ok ? own.result.snapshot.policy : undefined;
	if (!own.result.ok || source === undefined) return { ...own, note: undefined };
	const { service } = own.result.snapshot;
	if (source.cacheDir === undefined) return { ...own, note: "what Nexus has for this service is not known here: the file alone" };
	const path = join(source.cacheDir, KEPT_FILE);
	const read = await readTextFile(path);
	if (!("text" in read)) return { ...own, note: `no copy of what Nexus has for this service (${path}: ${read.message}): the file alone` };
	const kept = readKept(read.text, service);
	if (typeof kept === "string") return { ...own, note: `${path} ${kept}: the file alone` };
	const nexus = { text: kept.text, file: nexusFile(service, kept.version) };
	const both = await loadPolicyFile(file, env, version, { nexus, wins: source.merge });
	// Faults may stand in either text: none is shown beside the lines of the other.
	return { result: both.result, text: both.result.ok ? both.text : "", note: `with version ${kept.version} of Nexus, as kept in ${path}` };
}
