/** `npm run bench -- nexus`: Nexus as a bus, beside the brokers that are installed, and which budgets were met. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/core/errors.ts";
import { withSection } from "../docs.ts";
import { type Cores, describeMachine, findCores, pinSelf } from "../machine.ts";
import { lookAtCpu, shareOfOthers } from "../others.ts";
import { closeOnSignals, Workspace } from "../processes.ts";
import { type Progress, startProgress } from "../progress.ts";
import { plainTable } from "../table.ts";
import { CONTESTANTS } from "./contestants.ts";
import { measureEndToEnd } from "./end-to-end.ts";
import { measureFilters } from "./filters.ts";
import { measureFollowers } from "./followers.ts";
import { NEXUS_HELP, type Options, type PartName, parseNexusOptions } from "./options.ts";
import type { MeasurePart } from "./part.ts";
import { measurePublish } from "./publish.ts";
import { measureReplay } from "./replay.ts";
import { budgetsOf, circumstances, type MeasuredPart, markdownSection, serialize, withParts } from "./report.ts";
import { measureSoak } from "./soak.ts";
import { measureStart } from "./start.ts";

const RESULTS = new URL("../results/nexus.json", import.meta.url);
const PAGE = new URL("../../docs/benchmarks-nexus.md", import.meta.url);

const MEASURE: Readonly<Record<PartName, MeasurePart>> = {
	publish: measurePublish,
	"end-to-end": measureEndToEnd,
	replay: measureReplay,
	followers: measureFollowers,
	start: measureStart,
	index: measureFilters,
	// What its servers need of the tests is not loaded for the others.
	engines: async (stage) => (await import("./engines.ts")).measureEngines(stage),
	soak: measureSoak,
};
/** Parts in which others than Nexus take part. */
const BESIDE_OTHERS: readonly PartName[] = ["publish", "end-to-end"];
const IN_TURNS: readonly PartName[] = [...BESIDE_OTHERS, "engines"];

/** Sets the exit status; rejects never. */
export async function runNexusBench(argv: readonly string[]): Promise<void> {
	const parsed = parseNexusOptions(argv);
	if (parsed.kind === "help") process.stdout.write(NEXUS_HELP);
	else if (parsed.kind === "wrong") fail(`${parsed.message}\n\n${NEXUS_HELP}`, 2);
	else await run(parsed.options);
}

/** Tables are printed, and with --docs kept, as they come: what breaks at the end has not cost what was before. */
async function run(options: Options): Promise<void> {
	const cores = findCores();
	if ("problem" in cores) return fail(cores.problem, 1);
	pinSelf(cores.rest);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	const progress = startProgress(process.stderr);
	const parts: Partial<Record<PartName, MeasuredPart>> = {};
	const say = (text: string): void => {
		if (!options.json) process.stdout.write(`${text}\n`);
	};
	try {
		for (const name of options.parts) {
			progress.step(name);
			const part = await measure(name, workspace, cores, progress, options);
			parts[name] = part;
			progress.done();
			for (const table of part.tables) say(plainTable(table));
			say(`  ${circumstances(part)}\n`);
			if (options.docs) await publish({ [name]: part });
		}
		const results = withParts("", parts);
		const budgets = budgetsOf(results);
		if (budgets.rows.length > 0) say(plainTable(budgets));
		if (options.docs) say(`written to ${fileURLToPath(PAGE)} and bench/results/nexus.json`);
		if (options.json) process.stdout.write(serialize(results));
	} catch (thrown) {
		// Closed: Ctrl-C has cut the measurement short, and its handler ends the process.
		if (!workspace.closed) fail(messageOf(thrown), 1);
	} finally {
		await workspace.close();
	}
}

async function measure(name: PartName, workspace: Workspace, cores: Cores, progress: Progress, options: Options): Promise<MeasuredPart> {
	const machine = describeMachine();
	const date = new Date().toISOString();
	const before = lookAtCpu();
	const report = await MEASURE[name]({ workspace, cores, progress, options });
	const others = shareOfOthers(before, lookAtCpu(), machine.cores);
	const taken = CONTESTANTS.filter((each) => each.program !== undefined && (options.only.includes(each.name) || each.name === "nexus"));
	const contestants = taken.filter((each) => BESIDE_OTHERS.includes(name) || each.name === "nexus").map((each) => `${each.name} ${each.version()}`);
	return { ...report, date, machine, contestants, others, turns: turnsOf(name, options) };
}

function turnsOf(name: PartName, { rounds, seconds }: Options): string {
	if (IN_TURNS.includes(name)) return `${rounds} x ${seconds} s each in turns`;
	return name === "followers" ? `${seconds} s` : "once";
}

async function publish(parts: Partial<Record<PartName, MeasuredPart>>): Promise<void> {
	const results = withParts(existsSync(RESULTS) ? await readFile(RESULTS, "utf8") : "", parts);
	await mkdir(new URL(".", RESULTS), { recursive: true });
	await writeFile(RESULTS, serialize(results));
	await writeFile(PAGE, withSection(await readFile(PAGE, "utf8"), markdownSection(results)));
	if (parts.engines !== undefined) {
		const [{ pageUrl }, { enginesPage }] = await Promise.all([import("../../docs/generate.ts"), import("../../docs/pages/engines.ts")]);
		await writeFile(pageUrl(enginesPage), enginesPage.render());
	}
}

function fail(message: string, status: number): void {
	process.stderr.write(`bench: ${message}\n`);
	process.exitCode = status;
}
