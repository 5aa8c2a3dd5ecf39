/** What a rotation waits for before its next step: one pure function over what is known of the workloads. */
import type { RotationState } from "./identity-state.ts";
import type { Workload } from "./workloads.ts";

export interface Hindrance {
	readonly workload: Workload;
	/** One clause: what it lacks. */
	readonly lacks: string;
}

export interface PlanView {
	readonly workloads: Iterable<Workload>;
	/** Wall time. */
	readonly nowMs: number;
	/** What is on the deny list can do no harm, and is not waited for: so a workload that is gone for good can be left behind. */
	readonly isDenied: (workload: Workload) => boolean;
}

/**
 * Those that would lose their place in the mesh by the next step. Whoever is out of reach is waited for as long as its certificate lasts:
 * it may be cut off, not gone (docs/decisions/0062).
 */
export function hindrances(rotation: RotationState, { workloads, nowMs, isDenied }: PlanView): Hindrance[] {
	if (rotation.step === "retire") return [];
	const found: Hindrance[] = [];
	for (const workload of workloads) {
		const lacks = rotation.step === "add" ? lacksBundle(workload, rotation, nowMs) : lacksLeaf(workload, rotation, nowMs);
		if (lacks !== "" && !isDenied(workload)) found.push({ workload, lacks });
	}
	return found;
}

function lacksBundle({ leaf, given, bundleVersion }: Workload, { version }: RotationState, nowMs: number): string {
	if (bundleVersion >= version || Math.max(leaf.notAfterMs, given?.notAfterMs ?? 0) <= nowMs) return "";
	return bundleVersion === 0 ? `has not said which bundle it has` : `has bundle ${bundleVersion}, not ${version} yet`;
}

/** What was given to it and never shown counts for nothing: the answer may be lost, and the old one in use. */
function lacksLeaf({ leaf, given }: Workload, { next }: RotationState, nowMs: number): string {
	if (leaf.issuer === next || leaf.notAfterMs <= nowMs) return "";
	return given?.issuer === next ? "was given a new certificate, and has not shown it yet" : "shows a certificate of the old issuer";
}
