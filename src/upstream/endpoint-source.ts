/** Where the endpoints of an upstream come from. Static, DNS and file today; a registry implements the same. */
import type { EndpointPolicy } from "../policy/snapshot.ts";

export interface EndpointSource {
	/**
	 * Begins to resolve. `onUpdate` gets the whole list each time it changes, and at least once; a failed refresh keeps
	 * the last good list and is told through `onFault`. Never throws.
	 */
	start(onUpdate: (endpoints: readonly EndpointPolicy[]) => void, onFault: (message: string) => void): void;
	/** Idempotent; nothing is called back after it. */
	stop(): void;
}
