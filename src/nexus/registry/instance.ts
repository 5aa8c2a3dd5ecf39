/** What is known of one instance of a service, as it has said itself. The document alone. */
import { createHash } from "node:crypto";
import { z } from "zod";

/** `SERVICE/INSTANCE` of a state's keys: what a policy takes as a name, and what a sidecar calls itself. */
export const SERVICE_NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;
export const INSTANCE_NAME = /^[A-Za-z0-9]([A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$/;

export const instanceDocument = z.strictObject({
	/** `host:port` of its inbound listener. */
	address: z.string(),
	zone: z.string().nullable(),
	/** Of the program. */
	version: z.string(),
	health: z.enum(["ready", "draining"]),
	/** Since when it is listed; by the clock of Nexus, for people. */
	sinceMs: z.number(),
});

export type Instance = z.infer<typeof instanceDocument>;

/** As a caller gets it. */
export interface ListedEndpoint {
	readonly address: string;
	readonly zone?: string;
}

export interface EndpointList {
	/** Of the content: the same list has the same tag, whichever Nexus tells it. */
	readonly tag: string;
	readonly endpoints: readonly ListedEndpoint[];
}

/** Those that take requests, in the order of their addresses. */
export function endpointList(instances: Iterable<Instance>): EndpointList {
	const byAddress = new Map<string, ListedEndpoint>();
	for (const { address, zone, health } of instances) if (health === "ready") byAddress.set(address, zone === null ? { address } : { address, zone });
	const endpoints = [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
	return { tag: createHash("sha256").update(JSON.stringify(endpoints)).digest("hex").slice(0, 16), endpoints };
}

export function keyOf(service: string, instance: string): string {
	return `${service}/${instance}`;
}

export function partsOf(key: string): { readonly service: string; readonly instance: string } {
	const at = key.indexOf("/");
	return { service: key.slice(0, at), instance: key.slice(at + 1) };
}
