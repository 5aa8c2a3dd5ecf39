/** Endpoints that stand in the policy itself. */
import type { EndpointPolicy } from "../../policy/snapshot.ts";
import type { EndpointSource } from "../endpoint-source.ts";

export class StaticSource implements EndpointSource {
	readonly #endpoints: readonly EndpointPolicy[];

	constructor(endpoints: readonly EndpointPolicy[]) {
		this.#endpoints = endpoints;
	}

	/** Tells the list at once, within the call. */
	start(onUpdate: (endpoints: readonly EndpointPolicy[]) => void): void {
		onUpdate(this.#endpoints);
	}

	stop(): void {}
}
