/** The instances of services as Nexus lists them: one request that waits for changes of all that are followed. Lists stay while Nexus is away. */
import * as z from "zod/mini";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import { isRefusal } from "../../policy/fault.ts";
import type { EndpointPolicy } from "../../policy/snapshot.ts";
import { parseTcpAddress } from "../../policy/values.ts";
import type { RegistryListener, ServiceRegistry } from "../../upstream/discovery/registry.ts";
import type { KeptEndpoint, KeptLists } from "./kept-lists.ts";
import type { NexusLink } from "./nexus-link.ts";
import { backoffMs, pause } from "./patience.ts";

const WAIT_S = 30;
const TIMEOUT_MS = (WAIT_S + 10) * 1000;
/** Between two calls, whatever Nexus answers. */
const GAP_MS = 100;
/** A policy that is applied names its upstreams one after the other: they are one question. */
const GATHER_MS = 10;

const LIST = z.object({
	tag: z.string().check(z.maxLength(64)),
	endpoints: z.array(z.object({ address: z.string(), zone: z.optional(z.string()) })).check(z.maxLength(10_000)),
});
const ANSWER = z.object({ services: z.record(z.string(), LIST) });

export interface RegistryFollowerOptions {
	readonly link: NexusLink;
	/** Loaded; undefined: nothing is kept. */
	readonly kept: KeptLists | undefined;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
}

interface Followed {
	readonly listeners: Set<RegistryListener>;
	tag: string;
	/** Undefined until Nexus has answered, or what was kept is known. */
	endpoints: readonly EndpointPolicy[] | undefined;
}

export class RegistryFollower implements ServiceRegistry {
	readonly #options: RegistryFollowerOptions;
	readonly #followed = new Map<string, Followed>();
	readonly #stop = new AbortController();
	/** Ends the request that waits, as something else is to be asked. */
	#asking = new AbortController();
	#isRunning = false;

	constructor(options: RegistryFollowerOptions) {
		this.#options = options;
	}

	follow(service: string, listener: RegistryListener): () => void {
		// A copy: the same listener twice is two.
		const own = { ...listener };
		let followed = this.#followed.get(service);
		if (followed === undefined) {
			const kept = this.#options.kept?.get(service);
			followed = { listeners: new Set(), tag: "", endpoints: kept && this.#endpointsOf(service, kept) };
			this.#followed.set(service, followed);
			this.#askAnew();
		}
		followed.listeners.add(own);
		if (followed.endpoints !== undefined) own.onList(followed.endpoints);
		return () => {
			const known = this.#followed.get(service);
			known?.listeners.delete(own);
			// Nobody asks any more; what waits is not ended for that.
			if (known?.listeners.size === 0) this.#followed.delete(service);
		};
	}

	stop(): void {
		this.#stop.abort();
		this.#asking.abort();
		this.#followed.clear();
	}

	#askAnew(): void {
		this.#asking.abort();
		if (this.#isRunning) return;
		this.#isRunning = true;
		void this.#run().finally(() => {
			this.#isRunning = false;
		});
	}

	/** For as long as anything is followed. */
	async #run(): Promise<void> {
		const { clock, rng } = this.#options;
		const { signal } = this.#stop;
		await pause(GATHER_MS, clock, signal);
		for (let failures = 0; this.#followed.size > 0 && !signal.aborted; ) {
			this.#asking = new AbortController();
			const asking = this.#asking.signal;
			const words = await this.#ask(asking);
			if (asking.aborted) await pause(GATHER_MS, clock, signal);
			else if (words === undefined) {
				failures = 0;
				await pause(GAP_MS, clock, asking);
			} else {
				failures++;
				this.#fail(words);
				await pause(backoffMs(failures, rng), clock, asking);
			}
		}
	}

	/** Words where it went wrong. */
	async #ask(signal: AbortSignal): Promise<string | undefined> {
		const services = Object.fromEntries([...this.#followed].map(([service, { tag }]) => [service, tag]));
		const outcome = await this.#options.link.request({
			method: "POST",
			path: "/v1/services/follow",
			body: { services, wait: `${WAIT_S}s` },
			timeoutMs: TIMEOUT_MS,
			signal,
		});
		if (!outcome.ok) return outcome.words;
		if (outcome.status === 204) return undefined;
		const answer = ANSWER.safeParse(outcome.body);
		if (!answer.success) return "the answer about services has not the form of one";
		for (const [service, list] of Object.entries(answer.data.services)) this.#take(service, list);
		return undefined;
	}

	#take(service: string, { tag, endpoints }: z.output<typeof LIST>): void {
		const followed = this.#followed.get(service);
		if (followed === undefined) return;
		followed.tag = tag;
		const said = endpoints.map(({ address, zone }) => ({ address, zone }));
		followed.endpoints = this.#endpointsOf(service, said);
		this.#options.kept?.set(service, said);
		for (const { onList } of followed.listeners) onList(followed.endpoints);
	}

	#endpointsOf(service: string, said: readonly KeptEndpoint[]): readonly EndpointPolicy[] {
		return said.flatMap(({ address: written, zone }): EndpointPolicy[] => {
			const address = parseTcpAddress(written, 1);
			if (!isRefusal(address)) return [{ address, weight: 1, zone }];
			this.#options.log.warn("an instance has an address that is none", { service, address: written.slice(0, 100) });
			return [];
		});
	}

	#fail(words: string): void {
		for (const { listeners } of this.#followed.values()) for (const { onFault } of listeners) onFault(words);
	}
}
