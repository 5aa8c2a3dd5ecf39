/** `nexus check`: every fault of every policy file, with its place and a hint. */
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { CliIo } from "./io.ts";

/** Resolves with 0 where all files are fine, else 1. Files are read one after the other, in the order given. */
export async function runCheck(files: readonly string[], io: CliIo): Promise<number> {
	let faulty = 0;
	let total = 0;
	for (const file of files) {
		const { text, result } = await loadPolicyFile(file, process.env, 1);
		if (result.ok) {
			io.stdout.write(`${file}: ok, ${summary(result.snapshot)}\n`);
			continue;
		}
		faulty++;
		total += result.faults.length;
		io.stdout.write(`${formatFaults(result.faults, text, { color: io.colour })}\n`);
	}
	if (faulty === 0) {
		if (files.length > 1) io.stdout.write(`${count(files.length, "file")}, no fault\n`);
		return 0;
	}
	io.stdout.write(`${count(total, "fault")} in ${files.length === 1 ? "the file" : `${faulty} of ${count(files.length, "file")}`}\n`);
	return 1;
}

function summary({ service, inbound, outbound, upstreams }: Snapshot): string {
	const listeners = [inbound && "inbound", outbound && "outbound"].filter((part) => part !== undefined).join(" and ");
	return `service ${service}, ${listeners}, ${count(outbound?.routes.length ?? 0, "route")}, ${count(upstreams.size, "upstream")}`;
}

function count(n: number, noun: string): string {
	return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
