/** How the state of the authority looks in a terminal. */
import type { AuthorityState, Rotation } from "../client/nexus-client.ts";
import { shortTime, tableText } from "./table.ts";

const STEPS = {
	add: "the new root is being made known",
	issue: "the new intermediate issues; old certificates are being replaced",
	retire: "the old authority is being retired",
} as const;

export function stepText({ what, step }: Rotation): string {
	const steps = what === "root" ? (["add", "issue", "retire"] as const) : (["issue", "retire"] as const);
	return `step ${steps.indexOf(step as "issue") + 1} of ${steps.length}, ${step}: ${STEPS[step]}`;
}

/** "" where it waits for nothing. At most ten workloads by name. */
export function waitsText({ waitsFor, waitsForCount, patienceLeftMs }: Rotation): string {
	const lines = waitsFor.slice(0, 10).map(({ identity, address, serial, lacks, lastSeen, notAfter }) => {
		return `  ${identity} at ${address}: ${lacks} (last seen ${shortTime(lastSeen)}, its certificate ${serial} ends ${shortTime(notAfter)})`;
	});
	if (waitsForCount > lines.length) lines.push(`  and ${waitsForCount - lines.length} more`);
	if (lines.length > 0) lines.unshift(`waits for ${waitsForCount} workload${waitsForCount === 1 ? "" : "s"}:`);
	else if (patienceLeftMs > 0) lines.push(`waits ${Math.ceil(patienceLeftMs / 1000)} s for workloads to be heard, as Nexus has just started`);
	return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

export function statusText(view: AuthorityState): string {
	const authorities = [
		...view.roots.map((each) => ["root", each.role, each.subject, each.serial, shortTime(each.notAfter)]),
		...view.intermediates.map((each) => ["intermediate", each.role, each.subject, each.serial, shortTime(each.notAfter)]),
	];
	const workloads = view.workloads.map(({ identity, address, serial, notAfter, bundleVersion, lastSeen }) => [
		identity,
		address,
		serial,
		shortTime(notAfter),
		bundleVersion === view.bundleVersion ? "current" : bundleVersion === 0 ? "-" : String(bundleVersion),
		shortTime(lastSeen),
	]);
	const denied = [...view.deniedIdentities.map((each) => ["identity", each]), ...view.deniedSerials.map((each) => ["serial", each])];
	const parts = [
		`trust domain ${view.trustDomain}, bundle ${view.bundleVersion}, certificates last ${durationText(view.certificateTtlMs)}${view.hasRootKey ? "" : ", root.key is kept elsewhere"}\n`,
		tableText(["AUTHORITY", "ROLE", "SUBJECT", "SERIAL", "UNTIL (UTC)"], authorities),
		view.rotation === null ? "" : `rotation of the ${view.rotation.what}, ${stepText(view.rotation)}\n${waitsText(view.rotation)}`,
		denied.length === 0 ? "" : tableText(["DENIED", ""], denied),
		workloads.length === 0
			? "no workload has been seen\n"
			: tableText([`WORKLOAD (${view.workloadCount})`, "ADDRESS", "SERIAL", "UNTIL (UTC)", "BUNDLE", "SEEN (UTC)"], workloads),
	];
	return parts.filter((part) => part !== "").join("\n");
}

function durationText(ms: number): string {
	if (ms % 3_600_000 === 0) return `${ms / 3_600_000} h`;
	return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1000} s`;
}
