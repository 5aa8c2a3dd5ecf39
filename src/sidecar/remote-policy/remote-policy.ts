/** A policy as Nexus has it for this service. */
import { createHash } from "node:crypto";

export interface RemotePolicy {
	readonly version: number;
	/** Of no other text, also where numbers begin anew. */
	readonly tag: string;
	/** YAML. */
	readonly text: string;
	/** Who has put it, and why; for people. */
	readonly author: string;
	readonly reason: string;
}

export function digestOf(text: string): string {
	return createHash("sha256").update(text).digest("hex");
}
