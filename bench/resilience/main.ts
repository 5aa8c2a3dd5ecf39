/** `npm run bench -- resilience`: a real mesh of processes in trouble, behind our sidecar and behind Envoy, with each feature off and on. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/core/errors.ts";
import { withSection } from "../docs.ts";
import { describeMachine, findCores, pinSelf } from "../machine.ts";
import { envoy } from "../peers/envoy.ts";
import { ours } from "../peers/ours.ts";
import { closeOnSignals, Workspace } from "../processes.ts";
import { startProgress } from "../progress.ts";
import { markdownTable, plainTable } from "../table.ts";
import { measureResilience } from "./measure.ts";
import { parseResilienceOptions, RESILIENCE_HELP, type ResilienceOptions } from "./options.ts";
import { type ResilienceResults, resilienceHeadline, resilienceTables } from "./report.ts";

const RESULTS = new URL("../results/", import.meta.url);
const PAGE = new URL("../../docs/resilience.md", import.meta.url);

/** Sets the exit status; rejects never. */
export async function runResilience(argv: readonly string[]): Promise<void> {
	const parsed = parseResilienceOptions(argv);
	if (parsed.kind === "help") process.stdout.write(RESILIENCE_HELP);
	else if (parsed.kind === "wrong") fail(`${parsed.message}\n\n${RESILIENCE_HELP}`, 2);
	else await run(parsed.options);
}

async function run(options: ResilienceOptions): Promise<void> {
	const cores = findCores();
	if ("problem" in cores) return fail(cores.problem, 1);
	const machine = describeMachine();
	pinSelf(cores.rest);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	try {
		const progress = startProgress(process.stderr);
		const { setups, versions, missing } = lineUp(options);
		for (const sentence of missing) progress.note(sentence);
		const { rounds, seconds, rate, connections, quick } = options;
		const date = new Date().toISOString();
		const rows = await measureResilience({ workspace, cores, options, setups, progress });
		progress.done();
		await report({ format: 1, date, machine, versions, missing, rounds, seconds, rate, connections, quick, rows }, options);
		if (rows.some(({ faults }) => faults.length > 0)) process.exitCode = 1;
	} catch (thrown) {
		// Closed: Ctrl-C has cut the measurement short, and its handler ends the process.
		if (!workspace.closed) fail(messageOf(thrown), 1);
	} finally {
		await workspace.close();
	}
}

function lineUp(options: ResilienceOptions) {
	const proxies = { nexus: ours.find(), envoy: envoy.find() };
	const setups = options.setups.filter(({ proxy }) => proxies[proxy].kind === "found");
	const versions: Record<string, string> = {};
	const missing: string[] = [];
	for (const [name, found] of Object.entries(proxies)) {
		if (found.kind === "missing") missing.push(`not here: ${name}; ${found.install}`);
		else if (setups.some(({ proxy }) => proxy === name)) versions[name] = found.version;
	}
	return { setups, versions, missing };
}

async function report(results: ResilienceResults, { docs, json }: ResilienceOptions): Promise<void> {
	const text = `${JSON.stringify(results, null, "\t")}\n`;
	const lines = [...resilienceHeadline(results), "", ...resilienceTables(results).map(plainTable)];
	// Only what is published is kept: it stands beside the page that was made from it.
	if (docs) {
		await mkdir(RESULTS, { recursive: true });
		await writeFile(new URL("resilience.json", RESULTS), text);
		const section = [...resilienceHeadline(results).map((line) => `- ${line}`), "", ...resilienceTables(results).map(markdownTable)];
		await writeFile(PAGE, withSection(await readFile(PAGE, "utf8"), section.join("\n")));
		lines.push(`written to ${fileURLToPath(PAGE)} and bench/results/resilience.json`);
	}
	process.stdout.write(json ? text : `${lines.join("\n")}\n`);
}

function fail(message: string, status: number): void {
	process.stderr.write(`bench: ${message}\n`);
	process.exitCode = status;
}
