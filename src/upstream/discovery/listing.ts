/** What every source that changes shares: equal lists give no update, a fault is told once until it changes, the last good list stays. */
import type { Logger } from "../../core/log.ts";
import { addressText } from "../../policy/address-text.ts";
import type { EndpointPolicy } from "../../policy/snapshot.ts";

export type OnUpdate = (endpoints: readonly EndpointPolicy[]) => void;
export type OnFault = (message: string) => void;

export class Listing {
	/** Name or path, for the log. */
	readonly #source: string;
	readonly #log: Logger;
	readonly #onUpdate: OnUpdate;
	readonly #onFault: OnFault;
	#told: string | undefined;
	#fault: string | undefined;

	constructor(source: string, log: Logger, onUpdate: OnUpdate, onFault: OnFault) {
		this.#source = source;
		this.#log = log;
		this.#onUpdate = onUpdate;
		this.#onFault = onFault;
	}

	/** A good list in any order; an address that stands in it twice counts once. `fault`: good all the same, but something is amiss. */
	good(endpoints: readonly EndpointPolicy[], fault?: string): void {
		const byKey = new Map<string, EndpointPolicy>();
		for (const endpoint of endpoints) {
			const key = addressText(endpoint.address);
			if (!byKey.has(key)) byKey.set(key, endpoint);
		}
		const sorted = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1));
		const list = JSON.stringify(sorted);
		if (list !== this.#told) {
			this.#told = list;
			this.#onUpdate(Object.freeze(sorted.map(([, endpoint]) => endpoint)));
		}
		this.#tell(fault);
	}

	/** Nothing good was found: the last good list stays; at the start, when there is none, the list is empty. */
	bad(fault: string): void {
		if (this.#told === undefined) this.good([], fault);
		else this.#tell(fault);
	}

	#tell(fault: string | undefined): void {
		const before = this.#fault;
		if (fault === before) return;
		this.#fault = fault;
		if (fault === undefined) this.#log.info("endpoints can be read again", { source: this.#source, before });
		else this.#onFault(fault);
	}
}
