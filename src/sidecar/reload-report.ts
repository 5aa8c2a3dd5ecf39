/** What a reload may not change, and how what it did change is told. */
import type { SnapshotDiff } from "../policy/diff.ts";
import type { PolicyFault } from "../policy/fault.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { BindFault } from "./data-plane.ts";

/** Faults for settings that hold for the life of the process. */
export function notReloadable(diff: SnapshotDiff, next: Snapshot): PolicyFault[] {
	const fixed = diff.settings.filter(
		(part) => part === "service" || part === "trustDomain" || part === "admin" || part === "identity" || part === "policy",
	);
	return fixed.map((part) => ({
		place: (part === "admin" || part === "identity" || part === "policy" ? next[part]?.place : undefined) ?? { file: next.file, line: 1, column: 1 },
		width: 1,
		path: part,
		message: `${part} cannot change while the sidecar runs`,
		hint: "restart the sidecar, or set it back",
	}));
}

/** What could not be had, as faults of the policy that asks for it. */
export function bindFaults(faults: readonly BindFault[]): PolicyFault[] {
	const port = "choose another port, or stop what listens there";
	return faults.map(({ place, message, path = "listen", hint = port }) => ({ place, width: 1, path, message, hint }));
}

/** Names by section that were added, changed or removed; sections without any are left out. */
export function changedNames(diff: SnapshotDiff): Record<string, readonly string[]> {
	const upstreams = [...diff.upstreams].filter(([, change]) => change.kind !== "unchanged").map(([name, change]) => `${name} (${change.kind})`);
	const parts = (change: SnapshotDiff["inbound"] | SnapshotDiff["outbound"]): readonly string[] =>
		change.kind === "changed" ? change.parts : change.kind === "unchanged" ? [] : [change.kind];
	const sections = { settings: diff.settings, inbound: parts(diff.inbound), outbound: parts(diff.outbound), upstreams };
	return Object.fromEntries(Object.entries(sections).filter(([, names]) => names.length > 0));
}
