/** `node bench/nexus/main.ts`: Nexus as a bus, beside the brokers that are installed, and which budgets were met. */
import { messageOf } from "../../src/core/errors.ts";
import { describeMachine, findCores, pinSelf } from "../machine.ts";
import { closeOnSignals, Workspace } from "../processes.ts";
import { startProgress } from "../progress.ts";
import { plainTable } from "../table.ts";
import { measureEndToEnd } from "./end-to-end.ts";
import { measureFilters } from "./filters.ts";
import { measureFollowers } from "./followers.ts";
import { HELP, type Options, type PartName, parseOptions } from "./options.ts";
import { budgetTable, type MeasurePart, outcomeOf, type Verdict } from "./part.ts";
import { measurePublish } from "./publish.ts";
import { measureReplay } from "./replay.ts";
import { measureSoak } from "./soak.ts";
import { measureStart } from "./start.ts";

const MEASURE: Readonly<Record<PartName, MeasurePart>> = {
	publish: measurePublish,
	"end-to-end": measureEndToEnd,
	replay: measureReplay,
	followers: measureFollowers,
	start: measureStart,
	index: measureFilters,
	soak: measureSoak,
};

const parsed = parseOptions(process.argv.slice(2));
if (parsed.kind === "help") process.stdout.write(HELP);
else if (parsed.kind === "wrong") fail(parsed.message, 2);
else await main(parsed.options);

/** Tables are printed as they come: a run of all parts takes half an hour. */
async function main(options: Options): Promise<void> {
	const cores = findCores();
	if ("problem" in cores) return fail(cores.problem, 1);
	const machine = describeMachine();
	const date = new Date().toISOString();
	pinSelf(cores.rest);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	const progress = startProgress(process.stderr);
	const say = (text: string): void => {
		if (!options.json) process.stdout.write(`${text}\n`);
	};
	const figures: Record<string, unknown> = {};
	const verdicts: Verdict[] = [];
	say(`${date}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, load average ${machine.loadAverage}\n`);
	try {
		for (const part of options.parts) {
			progress.step(part);
			const report = await MEASURE[part]({ workspace, cores, progress, options });
			progress.done();
			for (const table of report.tables) say(plainTable(table));
			figures[part] = report.figures;
			verdicts.push(...report.verdicts);
		}
		say(plainTable(budgetTable(verdicts)));
		if (machine.loadAverage > 0.5) say("The machine was busy when the run began: figures and delays mean less.");
		if (options.json) {
			const judged = verdicts.map((verdict) => ({ ...verdict, outcome: outcomeOf(verdict) }));
			process.stdout.write(`${JSON.stringify({ date, machine, options, figures, verdicts: judged })}\n`);
		}
	} catch (thrown) {
		if (!workspace.closed) fail(messageOf(thrown), 1);
	} finally {
		await workspace.close();
	}
}

function fail(message: string, status: number): void {
	process.stderr.write(`bench of Nexus: ${message}\n${status === 2 ? `\n${HELP}` : ""}`);
	process.exitCode = status;
}
