/** Who has registered at Nexus, as a client lists and follows it. */
import type { Rng } from "../core/rng.ts";
import { type CallOptions, durationText, type JsonCalls, path } from "./json-calls.ts";
import { NexusError } from "./nexus-error.ts";
import { backoffMs, wait } from "./retry.ts";

export interface Service {
	readonly service: string;
	readonly instances: readonly ServiceInstance[];
}

export interface ServiceInstance {
	readonly instance: string;
	/** host:port of its inbound listener. */
	readonly address: string;
	readonly zone: string | null;
	readonly version: string;
	readonly health: "ready" | "draining";
	readonly since: string;
	/** Since it was heard. */
	readonly silentMs: number;
	/** Of Nexus; null where it takes none from there. */
	readonly policyVersion: number | null;
}

export interface ServiceEndpoints {
	/** Changes with the list. */
	readonly tag: string;
	readonly endpoints: readonly { readonly address: string; readonly zone?: string }[];
}

export interface FollowServicesOptions {
	readonly signal?: AbortSignal;
	/** Nexus is away or overloaded; the lists that were given stay good. */
	readonly onBreak?: (cause: NexusError, retryInMs: number) => void;
}

/** Shorter than what boxes in between cut. */
const POLL_MS = 30_000;
const ANSWER_MS = 10_000;

/** Each call rejects with a NexusError where it is refused. */
export class ServicesClient {
	readonly #calls: JsonCalls;
	readonly #rng: Rng;

	constructor(calls: JsonCalls, rng: Rng) {
		this.#calls = calls;
		this.#rng = rng;
	}

	list(options: CallOptions = {}): Promise<readonly Service[]> {
		return this.#calls.all("/v1/services", "services", options);
	}

	/** Undefined where nobody has registered. */
	async get(service: string, options: CallOptions = {}): Promise<Service | undefined> {
		return (await this.#calls.all<Service>(path`/v1/services/${service}`, "services", options))[0];
	}

	/**
	 * Where the instances of these are: all lists first, then those that have become others, each time by service. Goes on while Nexus is away; ends as
	 * `signal` is aborted, with its reason, or with the NexusError of a refusal.
	 */
	async *follow(
		services: readonly string[],
		{ signal, onBreak }: FollowServicesOptions = {},
	): AsyncGenerator<Readonly<Record<string, ServiceEndpoints>>, never, void> {
		const tags = new Map(services.map((service) => [service, ""]));
		for (let tries = 0; ; ) {
			try {
				const answer = await this.#poll(tags, signal);
				tries = 0;
				if (answer === undefined) continue;
				for (const [service, { tag }] of Object.entries(answer.services)) tags.set(service, tag);
				yield answer.services;
			} catch (thrown) {
				if (!(thrown instanceof NexusError) || !thrown.isTransient) throw thrown;
				const waitMs = Math.max(thrown.retryAfterMs, backoffMs(tries++, this.#rng));
				onBreak?.(thrown, waitMs);
				await wait(waitMs, this.#calls.clock, signal);
			}
		}
	}

	/** Undefined: no other list in this time. */
	#poll(tags: ReadonlyMap<string, string>, signal: AbortSignal | undefined): Promise<{ services: Record<string, ServiceEndpoints> } | undefined> {
		const body = { services: Object.fromEntries(tags), wait: durationText(POLL_MS) };
		return this.#calls.json("/v1/services/follow", { method: "POST", body, signal, timeoutMs: POLL_MS + ANSWER_MS });
	}
}
