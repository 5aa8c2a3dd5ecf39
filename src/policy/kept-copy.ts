/** The copy of Nexus' policy that a sidecar keeps, as one JSON document: written whole, believed only as it was written. Knows no files. */
import { createHash } from "node:crypto";

/** In `policy.cacheDir`. */
export const KEPT_FILE = "policy.json";

/** A policy as Nexus has it for a service. */
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

const FORMAT = 1;

export function keptJson(service: string, { version, tag, text, author, reason }: RemotePolicy): string {
	return JSON.stringify({ format: FORMAT, service, version, tag, text, author, reason, digest: digestOf(text) });
}

/** A string says why it is not used: the predicate of a sentence about the file. */
export function readKept(json: string, service: string): RemotePolicy | string {
	let given: unknown;
	try {
		given = JSON.parse(json);
	} catch {
		return "is damaged";
	}
	const { format, version, tag, text, author, reason, digest, ...of } = (typeof given === "object" && given !== null ? given : {}) as Record<
		string,
		unknown
	>;
	if (format !== FORMAT || !Number.isSafeInteger(version) || Number(version) < 1) return "is damaged, or of another version of this program";
	if (typeof tag !== "string" || typeof text !== "string" || typeof author !== "string" || typeof reason !== "string") return "is damaged";
	if (digest !== digestOf(text)) return "is damaged";
	return of.service === service ? { version: Number(version), tag, text, author, reason } : `is of the service ${String(of.service).slice(0, 100)}`;
}

function digestOf(text: string): string {
	return createHash("sha256").update(text).digest("hex");
}
