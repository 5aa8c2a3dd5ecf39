/** How an address is named in metrics, logs, events and maps. */
import type { Address } from "../policy/snapshot.ts";

/** `host:port`, `[v6]:port` or `unix:/path`. */
export function endpointKey(address: Address): string {
	if (address.kind === "unix") return `unix:${address.path}`;
	return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
