/** Whether a text can be the policy of a service: judged by the code of `nexus check`, as a sidecar with an ordinary file of its own would. Pure. */
import type { PolicyFault } from "../../policy/fault.ts";
import { nexusFile } from "../../policy/layers.ts";
import { loadLayeredPolicy } from "../../policy/load.ts";

export interface DocumentCheck {
	readonly service: string;
	/** That it would have. */
	readonly version: number;
	readonly text: string;
	readonly wallMs: number;
}

/** Empty where it is one. Variables of the environment are those of each sidecar: here none is set, so each needs its default. */
export function documentFaults({ service, version, text, wallMs }: DocumentCheck): readonly PolicyFault[] {
	const nexus = { text, file: nexusFile(service, version) };
	const result = loadLayeredPolicy(
		{ local: { text: sidecarFile(service), file: "the sidecar's own file" }, nexus, wins: "nexus" },
		{},
		version,
		wallMs,
	);
	return result.ok ? [] : result.faults;
}

/** What sidecars say themselves. One that has no identity, or no application, finds out what it lacks and says so. */
function sidecarFile(service: string): string {
	return [
		// In quotes: a name may look like a number, or like nothing.
		`service: "${service}"`,
		"zone: any",
		"admin: { listen: 127.0.0.1:0 }",
		'nexus: { url: "https://127.0.0.1:7400" }',
		"policy: { source: nexus }",
		"identity: { nexus: { tokenFile: join.token } }",
		"inbound: { listen: 127.0.0.1:0, application: 127.0.0.1:1 }",
		"outbound: { listen: 127.0.0.1:0 }",
		"",
	].join("\n");
}
