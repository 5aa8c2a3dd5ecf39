/** What the kernel says a process has used: CPU time and memory of it, its threads and its children, from /proc. */
import { readdirSync, readFileSync } from "node:fs";
import { codeOf } from "../src/core/errors.ts";

// USER_HZ, the unit of /proc/PID/stat, is 100 on every Linux port that Node runs on (proc(5)).
const TICKS_PER_SECOND = 100;
const US_PER_TICK = 1_000_000 / TICKS_PER_SECOND;

export interface CpuTime {
	readonly userUs: number;
	readonly systemUs: number;
}

/** CPU time so far of `pid` and everything below it, with children that have ended. 0 once it is gone. */
export function cpuTime(pid: number): CpuTime {
	let userUs = 0;
	let systemUs = 0;
	for (const member of family(pid)) {
		const stat = read(`/proc/${member}/stat`);
		if (stat === undefined) continue;
		const time = parseStat(stat);
		userUs += time.userUs;
		systemUs += time.systemUs;
	}
	return { userUs, systemUs };
}

/** Resident memory in bytes of `pid` and everything below it (pages shared between them count for each). */
export function residentBytes(pid: number): number {
	let total = 0;
	for (const member of family(pid)) {
		const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${member}/status`) ?? "")?.[1];
		total += Number(kibibytes ?? 0) * 1024;
	}
	return total;
}

/** One line of /proc/PID/stat. The command name may hold spaces and brackets: fields are counted after the last one. */
export function parseStat(line: string): CpuTime {
	const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
	// utime, stime, cutime, cstime are fields 14 to 17 of proc(5); `fields` begins with the third.
	const [user, system, childrenUser, childrenSystem] = fields.slice(11, 15).map(Number);
	const userUs = ((user ?? Number.NaN) + (childrenUser ?? Number.NaN)) * US_PER_TICK;
	const systemUs = ((system ?? Number.NaN) + (childrenSystem ?? Number.NaN)) * US_PER_TICK;
	if (Number.isNaN(userUs + systemUs)) throw new Error(`not a line of /proc/PID/stat: ${line}`);
	return { userUs, systemUs };
}

function family(root: number): number[] {
	const members = [root];
	// The array grows while it is walked: each member appends its children.
	for (const member of members) {
		for (const thread of threadsOf(member)) {
			const children = read(`/proc/${member}/task/${thread}/children`) ?? "";
			for (const child of children.split(" ")) if (child !== "") members.push(Number(child));
		}
	}
	return members;
}

function threadsOf(pid: number): string[] {
	try {
		return readdirSync(`/proc/${pid}/task`);
	} catch (thrown) {
		if (gone(thrown)) return [];
		throw thrown;
	}
}

function read(path: string): string | undefined {
	try {
		return readFileSync(path, "latin1");
	} catch (thrown) {
		if (gone(thrown)) return undefined;
		throw thrown;
	}
}

// A process may end between the listing and the reading.
function gone(thrown: unknown): boolean {
	const code = codeOf(thrown);
	return code === "ENOENT" || code === "ESRCH";
}
