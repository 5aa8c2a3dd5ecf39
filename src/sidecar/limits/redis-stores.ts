/** The Redis servers that the limits of a policy name: one store for each URL, however many limits name it. */
import type { Clock } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";
import type { SharedStore, SharedStores } from "../../limits/shared-store.ts";
import { redisConnector } from "./redis-connection.ts";
import { RedisStore } from "./redis-store.ts";

export interface RedisStoresOptions {
	readonly clock: Clock;
	readonly rng: Rng;
	/** `store`: `host:port`. `detail` names no secret. */
	readonly onState: (store: string, available: boolean, detail: string) => void;
}

export class RedisStores implements SharedStores {
	readonly #options: RedisStoresOptions;
	readonly #stores = new Map<string, RedisStore>();

	constructor(options: RedisStoresOptions) {
		this.#options = options;
	}

	/** `url`: one that the policy's check has let through. */
	open(url: string): SharedStore {
		const open = this.#stores.get(url);
		if (open !== undefined) return open;
		const { clock, rng, onState } = this.#options;
		const store = new RedisStore({ connect: redisConnector(url, clock), clock, rng, name: new URL(url).host, onState });
		this.#stores.set(url, store);
		return store;
	}

	keep(urls: ReadonlySet<string>): void {
		for (const [url, store] of this.#stores) {
			if (urls.has(url)) continue;
			this.#stores.delete(url);
			store.close();
		}
	}
}
