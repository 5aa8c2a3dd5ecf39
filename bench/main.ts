/** `npm run bench`: measures the sidecar beside its peers in one run, and says which budgets were met. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { messageOf } from "../src/core/errors.ts";
import { cpuChart } from "./chart.ts";
import { findGenerator } from "./closed-load.ts";
import { withResults } from "./docs.ts";
import { measureFeatures } from "./features.ts";
import { measureIdle } from "./idle.ts";
import { measureLatency } from "./latency.ts";
import { describeMachine, findCores, pinSelf } from "./machine.ts";
import { runNexusBench } from "./nexus/main.ts";
import { HELP, type Options, PARTS, type Part, parseOptions } from "./options.ts";
import { startOrigin } from "./origin.ts";
import { PEERS } from "./peers/all.ts";
import { closeOnSignals, Workspace } from "./processes.ts";
import { startProgress } from "./progress.ts";
import { measureReload } from "./reload.ts";
import { headline, tablesOf } from "./report.ts";
import { runResilience } from "./resilience/main.ts";
import type { Results } from "./results.ts";
import { measureStart } from "./start.ts";
import { plainTable } from "./table.ts";
import { measureThroughput } from "./throughput.ts";
import { measureTls } from "./tls/measure.ts";
import type { Bench, Contestant } from "./turn.ts";

const RESULTS = new URL("results/", import.meta.url);
const PAGE = new URL("../docs/benchmarks.md", import.meta.url);

const [first, ...others] = process.argv.slice(2);
if (first === "resilience") await runResilience(others);
else if (first === "nexus") await runNexusBench(others);
else await runBench(process.argv.slice(2));

async function runBench(argv: readonly string[]): Promise<void> {
	const parsed = parseOptions(argv);
	if (parsed.kind === "help") process.stdout.write(HELP);
	else if (parsed.kind === "wrong") fail(parsed.message, 2);
	else await main(parsed.options);
}

async function main(options: Options): Promise<void> {
	const cores = findCores();
	if ("problem" in cores) return fail(cores.problem, 1);
	const machine = describeMachine();
	pinSelf(cores.rest);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	try {
		const generator = findGenerator(workspace, cores.rest, options.load);
		if ("problem" in generator) return fail(generator.problem, 1);
		const progress = startProgress(process.stderr);
		const { contestants, missing } = lineUp(options);
		for (const { name, install } of missing) progress.note(`${name} is not here: ${install}`);
		const origin = await startOrigin(workspace, cores.rest, options.bodies);
		const bench: Bench = { options, bodies: options.bodies, workspace, cores, origin, generator, contestants, progress };
		const results: Results = {
			format: 1,
			date: new Date().toISOString(),
			machine,
			origin: origin.description,
			generator: `${generator.name} ${generator.version}`,
			rounds: options.rounds,
			seconds: options.seconds,
			connections: options.connections,
			rate: options.rate,
			quick: options.quick,
			contestants: contestants.map(({ name, version }) => ({ name, version })),
			missing,
			...(await measure(bench)),
		};
		progress.done();
		await report(results, options);
	} catch (thrown) {
		// Closed: Ctrl-C has cut the measurement short, and its handler ends the process.
		if (!workspace.closed) fail(messageOf(thrown), 1);
	} finally {
		await workspace.close();
	}
}

function lineUp(options: Options) {
	const contestants: Contestant[] = [];
	const missing: { name: Contestant["name"]; install: string }[] = [];
	for (const peer of PEERS) {
		// Direct always runs: what is added is counted from it.
		if (peer.name !== "direct" && !options.only.includes(peer.name)) continue;
		const found = peer.find();
		if (found.kind === "found") contestants.push({ name: peer.name, ...found });
		else missing.push({ name: peer.name, install: found.install });
	}
	return { contestants, missing };
}

async function measure(bench: Bench) {
	const asked = (part: Part) => bench.options.parts.includes(part);
	return {
		throughput: asked("throughput") ? await measureThroughput(bench, false) : undefined,
		log: asked("log") ? await measureThroughput(bench, true) : undefined,
		latency: asked("latency") ? await measureLatency(bench) : undefined,
		idle: asked("idle") ? await measureIdle(bench) : undefined,
		start: asked("start") ? await measureStart(bench) : undefined,
		reload: asked("reload") ? await measureReload(bench) : undefined,
		features: asked("features") && bench.contestants.some(({ name }) => name === "ours") ? await measureFeatures(bench) : undefined,
		tls: asked("tls") ? await measureTls(bench) : undefined,
	};
}

async function report(results: Results, options: Options): Promise<void> {
	// Neither a quick run nor one of some parts must overwrite what a whole one has found.
	const name = options.quick ? "quick" : options.parts.length < PARTS.length ? "partial" : "latest";
	const chart = cpuChart(results);
	const json = `${JSON.stringify(results, null, "\t")}\n`;
	await mkdir(RESULTS, { recursive: true });
	await writeFile(new URL(`${name}.json`, RESULTS), json);
	if (chart !== undefined) await writeFile(new URL(`${name}.svg`, RESULTS), chart);
	if (options.docs && existsSync(PAGE)) {
		const page = await readFile(PAGE, "utf8");
		await writeFile(PAGE, withResults(page, results, chart === undefined ? undefined : `../bench/results/${name}.svg`));
	}
	const lines = [...headline(results), "", ...tablesOf(results).map(plainTable), `written to ${fileURLToPath(RESULTS)}${name}.json and .svg`];
	process.stdout.write(options.json ? json : `${lines.join("\n")}\n`);
}

function fail(message: string, status: number): void {
	process.stderr.write(`bench: ${message}\n${status === 2 ? `\n${HELP}` : ""}`);
	process.exitCode = status;
}
