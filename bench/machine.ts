/** The machine that is measured on: which cores to pin to, which programs are there, what to write above the results. */
import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { delimiter, join } from "node:path";

export interface Cores {
	/** The contestant alone runs here. */
	readonly proxy: number;
	/** Load, origin and the bench itself. */
	readonly rest: number;
}

export interface Machine {
	readonly cpu: string;
	readonly cores: number;
	readonly kernel: string;
	readonly node: string;
	/** Runnable tasks averaged over the last minute when the run began: above about 0.5 the figures are noisy. */
	readonly loadAverage: number;
}

/** The first two cores that this process may use, or why the bench cannot run. */
export function findCores(): Cores | { readonly problem: string } {
	if (process.platform !== "linux") return { problem: "the bench reads CPU time from /proc and pins with taskset: it runs on Linux only" };
	if (findProgram("taskset") === undefined) return { problem: "taskset is missing; install util-linux" };
	const allowed = /^Cpus_allowed_list:\s+(.+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "";
	const [proxy, rest] = parseCpuList(allowed);
	if (proxy === undefined || rest === undefined)
		return { problem: `two cores are needed, one for the proxy and one for the rest; allowed here: ${allowed}` };
	return { proxy, rest };
}

/** `0-2,5` -> [0, 1, 2, 5], as in cpuset(7); nothing for what is not such a list. */
export function parseCpuList(list: string): number[] {
	const cores: number[] = [];
	for (const part of list.trim().split(",")) {
		const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
		if (first === undefined) return [];
		for (let core = Number(first); core <= Number(last); core++) cores.push(core);
	}
	return cores;
}

/** Moves this process and all its threads to these cores: off the proxy's, mostly. What it starts begins there as well. */
export function pinSelf(...cores: readonly number[]): void {
	execFileSync("taskset", ["-a", "-c", "-p", cores.join(","), String(process.pid)], { stdio: "ignore" });
}

export function describeMachine(): Machine {
	const model = cpus()[0]?.model ?? "unknown";
	const loadAverage = Number(readFileSync("/proc/loadavg", "latin1").split(" ")[0]);
	return { cpu: model, cores: cpus().length, kernel: release(), node: process.version, loadAverage };
}

/** The full path of a program on PATH (or in /usr/sbin, where Debian keeps proxies off a user's PATH). */
export function findProgram(name: string): string | undefined {
	for (const folder of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]) {
		if (folder !== "" && isExecutable(join(folder, name))) return join(folder, name);
	}
	return undefined;
}

export function isExecutable(path: string): boolean {
	try {
		accessSync(path, constants.X_OK);
		return true;
	} catch {
		return false;
	}
}

/** The first group of `pattern` in what a program prints about its version, or "unknown". */
export function versionOf(program: string, args: readonly string[], pattern: RegExp): string {
	const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
	return pattern.exec(`${stdout}\n${stderr}`)?.[1] ?? "unknown";
}
