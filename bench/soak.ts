/** `npm run soak`: minutes of mixed traffic with bad manners and reloads. Memory must stay flat and no idempotent request may fail. */
import { readdirSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { messageOf } from "../src/core/errors.ts";
import { seededRng } from "../src/core/rng.ts";
import { askAdmin } from "./admin.ts";
import { cpuTime, residentBytes } from "./cpu.ts";
import { findCores, pinSelf } from "./machine.ts";
import { startOrigin } from "./origin.ts";
import { launchSidecar, ours } from "./peers/ours.ts";
import type { Plan } from "./peers/peer.ts";
import { closeOnSignals, Workspace } from "./processes.ts";
import { type Progress, startProgress } from "./progress.ts";
import { largePolicy } from "./reload.ts";
import { LARGE_BYTES, MIDDLE_BYTES, runCrowd, SLOW_BYTES, SMALL_BYTES, Tally } from "./soak-clients.ts";
import { sparkline } from "./sparkline.ts";
import { slope } from "./stats.ts";
import { type Contestant, type Running, type Stage, takeTurn } from "./turn.ts";

const HELP = `npm run soak -- [--minutes N]      steady mixed load, slow readers, aborted clients, reloads (10 minutes)

Fails (status 1) when resident memory grows beyond the bound or an idempotent request fails.
`;
const SAMPLE_EVERY_MS = 1000;
const RELOAD_EVERY_MS = 5000;
// V8 fills its young and old spaces and compiles: that is not a leak.
const WARM_SHARE = 1 / 3;
// The garbage collector moves resident memory by about this much from sample to sample; a leak of 0.1 % of the
// requests of a 10-minute run at 1 KiB each is larger.
const GROWTH_MAX_BYTES = 10e6;
const GRAPH_WIDTH = 72;
const SEED = 20_260;

interface Point {
	readonly seconds: number;
	readonly bytes: number;
}

interface Soak {
	readonly points: readonly Point[];
	readonly tally: Tally;
	readonly reloads: number;
	readonly descriptorsBefore: number;
	readonly descriptorsAfter: number;
	readonly cpuSeconds: number;
}

const minutes = minutesOf(process.argv.slice(2));
if (typeof minutes === "string") fail(minutes, 2);
else if (minutes === undefined) process.stdout.write(HELP);
else await main(minutes);

async function main(duration: number): Promise<void> {
	const cores = findCores();
	if ("problem" in cores) return fail(cores.problem, 1);
	const found = ours.find();
	if (found.kind === "missing") return fail(found.install, 1);
	pinSelf(cores.rest);
	const workspace = new Workspace();
	closeOnSignals(workspace);
	try {
		const bodies = [SMALL_BYTES, MIDDLE_BYTES, LARGE_BYTES];
		const origin = await startOrigin(workspace, cores.rest, [...bodies, SLOW_BYTES]);
		const result = await soak({ workspace, cores, origin, bodies }, { name: ours.name, ...found }, duration);
		const faults = report(result);
		if (faults.length > 0) fail(faults.join("\n"), 1);
	} catch (thrown) {
		if (!workspace.closed) fail(messageOf(thrown), 1);
	} finally {
		await workspace.close();
	}
}

async function soak(stage: Stage, contestant: Contestant, duration: number): Promise<Soak> {
	const config = stage.workspace.file("soak.yaml");
	let planned: Plan | undefined;
	const prepare = async (plan: Plan) => {
		planned = plan;
		await writeFile(config, largePolicy(plan, 0));
		return launchSidecar(plan, config);
	};
	return takeTurn(stage, contestant, { accessLog: true, prepare }, async (running) => {
		if (planned === undefined) throw new Error("a turn begins with its preparation");
		return underCrowd(running, planned, config, duration);
	});
}

async function underCrowd({ child, port, adminPort }: Running, plan: Plan, config: string, duration: number): Promise<Soak> {
	if (child === undefined) throw new Error("a sidecar has a process");
	const progress = startProgress(process.stderr);
	const tally = new Tally();
	const descriptorsBefore = descriptors(child.pid);
	const end = new AbortController();
	const crowd = runCrowd({ port, rng: seededRng(SEED), tally, signal: end.signal });
	const points: Point[] = [];
	let reloads = 0;
	const startedAt = performance.now();
	const elapsedMs = () => performance.now() - startedAt;
	let nextReloadMs = RELOAD_EVERY_MS;
	while (elapsedMs() < duration * 60_000) {
		await pause(SAMPLE_EVERY_MS);
		if (!child.running) throw new Error(`the sidecar ended after ${(elapsedMs() / 1000).toFixed(0)} s: ${child.lastWords()}`);
		points.push({ seconds: elapsedMs() / 1000, bytes: residentBytes(child.pid) });
		show(progress, points, tally);
		if (elapsedMs() < nextReloadMs) continue;
		nextReloadMs += RELOAD_EVERY_MS;
		await reload(adminPort, plan, config, ++reloads);
	}
	end.abort();
	await crowd;
	await pause(SAMPLE_EVERY_MS);
	progress.done();
	const { userUs, systemUs } = cpuTime(child.pid);
	return { points, tally, reloads, descriptorsBefore, descriptorsAfter: descriptors(child.pid), cpuSeconds: (userUs + systemUs) / 1e6 };
}

async function reload(adminPort: number, plan: Plan, config: string, generation: number): Promise<void> {
	await writeFile(`${config}.new`, largePolicy(plan, generation));
	await rename(`${config}.new`, config);
	const { status, body } = await askAdmin(adminPort, "POST", "/reload");
	if (status !== 200) throw new Error(`POST /reload was answered with ${status}: ${body.slice(0, 300)}`);
}

function show(progress: Progress, points: readonly Point[], tally: Tally): void {
	const bytes = points.map((point) => point.bytes);
	const failures = [...tally.failures.values()].reduce((sum, count) => sum + count, 0);
	progress.step(`${sparkline(bytes, 40)} ${megabytes(bytes.at(-1) ?? 0)}  ${tally.requests} requests, ${failures} failed`);
}

function report({ points, tally, reloads, descriptorsBefore, descriptorsAfter, cpuSeconds }: Soak): string[] {
	const counted = points.slice(Math.floor(points.length * WARM_SHARE));
	const bytes = points.map((point) => point.bytes);
	const perSecond = slope(counted.map((point) => ({ x: point.seconds, y: point.bytes })));
	const growth = perSecond * ((counted.at(-1)?.seconds ?? 0) - (counted[0]?.seconds ?? 0));
	const lines = [
		`resident memory, ${points.length} samples: ${megabytes(Math.min(...bytes))} to ${megabytes(Math.max(...bytes))}`,
		sparkline(bytes, GRAPH_WIDTH),
		`slope after the first third: ${((perSecond * 60) / 1000).toFixed(0)} KB/min, ${megabytes(growth)} in all (at most ${megabytes(GROWTH_MAX_BYTES)})`,
		`${tally.requests} requests checked to the byte, ${tally.slowReads} slow reads of ${megabytes(SLOW_BYTES)}, ${tally.uploads} uploads, ${tally.aborts} aborted clients, ${reloads} reloads`,
		`descriptors: ${descriptorsBefore} before, ${descriptorsAfter} after (pooled connections to the origin stay); CPU ${cpuSeconds.toFixed(1)} s`,
	];
	process.stdout.write(`${lines.join("\n")}\n`);
	const faults = [...tally.failures].map(([what, count]) => `${count} x ${what}`);
	return growth > GROWTH_MAX_BYTES ? [`resident memory grew by ${megabytes(growth)}`, ...faults] : faults;
}

function descriptors(pid: number): number {
	return readdirSync(`/proc/${pid}/fd`).length;
}

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Undefined for help; a sentence for what is wrong. */
function minutesOf(argv: string[]): number | string | undefined {
	try {
		const { values } = parseArgs({ args: argv, options: { minutes: { type: "string", default: "10" }, help: { type: "boolean", default: false } } });
		const count = Number(values.minutes);
		if (values.help) return undefined;
		return count > 0 && count <= 24 * 60 ? count : `--minutes takes a number from above 0 to 1440, not ${JSON.stringify(values.minutes)}`;
	} catch (thrown) {
		return messageOf(thrown);
	}
}

function fail(message: string, status: number): void {
	process.stderr.write(`soak: ${message}\n${status === 2 ? `\n${HELP}` : ""}`);
	process.exitCode = status;
}
