/** How much of the machine others took while something was measured: what makes figures noisy. */
import { readFileSync } from "node:fs";
import { cpuTime } from "./cpu.ts";

const TICKS_PER_SECOND = 100;

export interface CpuLook {
	readonly atMs: number;
	/** Of this process and all that it started, so far. */
	readonly ownUs: number;
	/** Of everybody, and what the host gave to other machines. */
	readonly allUs: number;
}

export function lookAtCpu(): CpuLook {
	const own = cpuTime(process.pid);
	return { atMs: performance.now(), ownUs: own.userUs + own.systemUs, allUs: parseAll(readFileSync("/proc/stat", "latin1")) };
}

/** Share of `cores` that others took between two looks, 0 to 1. */
export function shareOfOthers(before: CpuLook, after: CpuLook, cores: number): number {
	const us = after.allUs - before.allUs - (after.ownUs - before.ownUs);
	return Math.max(0, us / ((after.atMs - before.atMs) * 1000 * cores));
}

/** The first line of /proc/stat (proc(5)): user, nice, system and steal. Interrupts are not among them: those of the load are its own. */
export function parseAll(stat: string): number {
	const [user, nice, system, , , , , steal] = (/^cpu\s+(.+)$/m.exec(stat)?.[1] ?? "").split(" ").map(Number);
	const ticks = (user ?? Number.NaN) + (nice ?? Number.NaN) + (system ?? Number.NaN) + (steal ?? 0);
	if (Number.isNaN(ticks)) throw new Error("/proc/stat has no line of all cores");
	return (ticks * 1_000_000) / TICKS_PER_SECOND;
}
