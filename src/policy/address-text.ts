/** How an address is written: in metrics, logs, events, explanations, and as the key of an endpoint. */
import type { Address } from "./snapshot.ts";

/** `host:port` with brackets around IPv6, or `unix:/path`. */
export function addressText(address: Address): string {
	if (address.kind === "unix") return `unix:${address.path}`;
	return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
