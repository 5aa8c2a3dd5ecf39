/** Endpoints that have registered somewhere: the list of one service as it changes, from whoever keeps the connection to the registry. */
import type { Logger } from "../../core/log.ts";
import type { EndpointPolicy } from "../../policy/snapshot.ts";
import type { EndpointSource } from "../endpoint-source.ts";
import { Listing, type OnFault, type OnUpdate } from "./listing.ts";

export interface RegistryListener {
	/** All instances that can be reached now; also none. */
	readonly onList: (endpoints: readonly EndpointPolicy[]) => void;
	/** The registry does not answer. */
	readonly onFault: (message: string) => void;
}

export interface ServiceRegistry {
	/** Tells the list as soon as it is known, and each time it changes. Returns how to stop; idempotent. */
	follow(service: string, listener: RegistryListener): () => void;
}

export interface RegistrySourceDeps {
	readonly log: Logger;
	/** Undefined where there is no Nexus. */
	readonly registry?: ServiceRegistry | undefined;
}

export class RegistrySource implements EndpointSource {
	readonly #service: string;
	readonly #deps: RegistrySourceDeps;
	#stop: (() => void) | undefined;
	#hasInstances = false;

	constructor(service: string, deps: RegistrySourceDeps) {
		this.#service = service;
		this.#deps = deps;
	}

	start(onUpdate: OnUpdate, onFault: OnFault): void {
		const { log, registry } = this.#deps;
		const listing = new Listing(`registry: ${this.#service}`, log, onUpdate, onFault);
		if (registry === undefined) {
			listing.bad("there is no Nexus to ask for its instances");
			return;
		}
		this.#stop = registry.follow(this.#service, {
			onList: (endpoints) => this.#take(endpoints, listing),
			onFault: (message) => listing.bad(message),
		});
	}

	stop(): void {
		this.#stop?.();
		this.#stop = undefined;
	}

	/**
	 * That the last instance is gone is kept to ourselves: a registry that has lost its data says the same, and calls to an instance that is
	 * really gone fail at once in any case.
	 */
	#take(endpoints: readonly EndpointPolicy[], listing: Listing): void {
		if (endpoints.length > 0) {
			this.#hasInstances = true;
			listing.good(endpoints);
		} else if (this.#hasInstances) listing.bad(`no instance of ${this.#service} is registered any more; the last ones stay`);
		else listing.good([], `no instance of ${this.#service} is registered`);
	}
}
