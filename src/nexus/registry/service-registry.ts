/** The instances of all services: registered with a lease, listed for whoever calls them, followed as they change. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { CommitOutcome, StateStore } from "../state/state-store.ts";
import { ChangePolls } from "./change-polls.ts";
import { type EndpointList, endpointList, type Instance, instanceDocument, keyOf, partsOf } from "./instance.ts";
import { LeaseBook } from "./lease-book.ts";

/** A mesh of 300 services has 3,000; each takes 300 bytes. */
const INSTANCES_MAX = 20_000;

export interface ShownInstance extends Instance {
	readonly service: string;
	readonly instance: string;
	/** Since it was heard of. */
	readonly silentMs: number;
}

export type Registered = CommitOutcome | { readonly ok: true };

export class ServiceRegistry {
	readonly polls: ChangePolls;
	readonly #book: LeaseBook<Instance>;
	readonly #clock: Clock;
	readonly #byService = new Map<string, Set<string>>();
	/** Made when somebody asks. */
	readonly #lists = new Map<string, EndpointList>();

	private constructor(book: LeaseBook<Instance>, clock: Clock, logger: Logger) {
		this.#book = book;
		this.#clock = clock;
		this.polls = new ChangePolls(clock);
		for (const [key] of book.entries()) this.#index(key);
		book.onChange((key) => this.#changed(key));
		book.onEnd((key, { address }) => logger.warn("an instance was not heard of in time, and is listed no more", { ...partsOf(key), address }));
	}

	/** Rejects where the state cannot be read. */
	static async open({
		store,
		clock,
		logger,
	}: {
		readonly store: StateStore;
		readonly clock: Clock;
		readonly logger: Logger;
	}): Promise<ServiceRegistry> {
		const parse = (value: unknown): Instance | undefined => instanceDocument.safeParse(value).data;
		const book = await LeaseBook.open({ store, table: "instances", max: INSTANCES_MAX, parse, clock, logger });
		return new ServiceRegistry(book, clock, logger);
	}

	/** For the first time, or again within its lease. */
	register(service: string, instance: string, said: Omit<Instance, "sinceMs">, leaseMs: number): Promise<Registered> {
		const key = keyOf(service, instance);
		return this.#book.renew(key, { ...said, sinceMs: this.#book.get(key)?.sinceMs ?? this.#clock.wallMs() }, leaseMs);
	}

	deregister(service: string, instance: string): Promise<Registered> {
		return this.#book.release(keyOf(service, instance));
	}

	/** All instances, or those of one service; by name. */
	list(service?: string): ShownInstance[] {
		const keys = service === undefined ? [...this.#byService.values()].flatMap((each) => [...each]) : [...(this.#byService.get(service) ?? [])];
		return keys.sort().flatMap((key) => {
			const known = this.#book.get(key);
			return known === undefined ? [] : [{ ...partsOf(key), ...known, silentMs: Math.round(this.#book.silentMs(key)) }];
		});
	}

	endpoints(service: string): EndpointList {
		const known = this.#lists.get(service);
		if (known !== undefined) return known;
		const keys = this.#byService.get(service);
		const list = endpointList([...(keys ?? [])].flatMap((key) => this.#book.get(key) ?? []));
		// Bounded by what is registered: anybody may ask for any name.
		if (keys !== undefined) this.#lists.set(service, list);
		return list;
	}

	close(): void {
		this.polls.close();
		this.#book.close();
	}

	#changed(key: string): void {
		const { service } = partsOf(key);
		this.#lists.delete(service);
		if (this.#book.get(key) !== undefined) this.#index(key);
		else {
			const keys = this.#byService.get(service);
			keys?.delete(key);
			if (keys?.size === 0) this.#byService.delete(service);
		}
		this.polls.changed(service);
	}

	#index(key: string): void {
		const { service } = partsOf(key);
		const keys = this.#byService.get(service);
		if (keys === undefined) this.#byService.set(service, new Set([key]));
		else keys.add(key);
	}
}
