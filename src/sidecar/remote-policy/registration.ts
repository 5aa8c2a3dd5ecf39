/** Keeps this instance listed at Nexus, for as long as it is ready for requests. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { NexusLink } from "./nexus-link.ts";
import { backoffMs, pause } from "./patience.ts";

const TIMEOUT_MS = 5_000;
/** At the end; a Nexus that is away keeps nobody from ending. */
const LEAVE_TIMEOUT_MS = 1_000;
/** For callers to have heard that we leave, before we take no more. */
const HEARD_MS = 200;
/** Three tries within a lease. */
const RENEWALS = 3;

export interface Listing {
	/** `host:port`, or `:port` for the address that Nexus sees. */
	readonly address: string;
	readonly zone: string | undefined;
	readonly leaseMs: number;
}

export interface RegistrationOptions {
	readonly link: NexusLink;
	readonly service: string;
	readonly instance: string;
	/** Of the program. */
	readonly version: string;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
}

export class Registration {
	readonly #options: RegistrationOptions;
	readonly #stop = new AbortController();
	#listing: Listing | undefined;
	/** Ends the pause before the next renewal. */
	#wake = new AbortController();
	#isRunning = false;
	#isListed = false;
	#told = "";

	constructor(options: RegistrationOptions) {
		this.#options = options;
	}

	/** From now on; undefined: no more. */
	async set(listing: Listing | undefined): Promise<void> {
		if (JSON.stringify(listing) === JSON.stringify(this.#listing)) return;
		this.#listing = listing;
		this.#wake.abort();
		if (listing === undefined) await this.#leave();
		else if (!this.#isRunning) void this.#run();
	}

	/** No new requests from others; resolves when they have had the time to hear of it. */
	async leave(): Promise<void> {
		const { clock } = this.#options;
		const wasListed = this.#isListed;
		await this.set(undefined);
		if (wasListed) await pause(HEARD_MS, clock, this.#stop.signal);
	}

	stop(): void {
		this.#stop.abort();
		this.#wake.abort();
	}

	async #run(): Promise<void> {
		const { clock, rng } = this.#options;
		this.#isRunning = true;
		for (let failures = 0; this.#listing !== undefined && !this.#stop.signal.aborted; ) {
			const listing = this.#listing;
			this.#wake = new AbortController();
			const words = await this.#renew(listing);
			failures = words === undefined ? 0 : failures + 1;
			this.#tell(words ?? "");
			const delayMs = (listing.leaseMs / RENEWALS) * (1 - rng() / 10);
			await pause(words === undefined ? delayMs : Math.min(delayMs, backoffMs(failures, rng)), clock, this.#wake.signal);
		}
		this.#isRunning = false;
	}

	async #renew({ address, zone, leaseMs }: Listing): Promise<string | undefined> {
		const { link, version } = this.#options;
		const body = { address, zone: zone ?? null, version, health: "ready", lease: `${leaseMs}ms` };
		const outcome = await link.request({ method: "PUT", path: this.#path, body, timeoutMs: TIMEOUT_MS, signal: this.#wake.signal });
		if (!outcome.ok) return this.#wake.signal.aborted ? undefined : outcome.words;
		if (!this.#isListed) this.#options.log.info("listed at Nexus", { address, leaseMs });
		this.#isListed = true;
		return undefined;
	}

	async #leave(): Promise<void> {
		if (!this.#isListed) return;
		this.#isListed = false;
		const { link, log } = this.#options;
		const outcome = await link.request({ method: "DELETE", path: this.#path, timeoutMs: LEAVE_TIMEOUT_MS, signal: this.#stop.signal });
		if (!outcome.ok) log.warn("Nexus could not be told that this instance leaves; its lease will end", { error: outcome.words });
	}

	get #path(): string {
		const { service, instance } = this.#options;
		return `/v1/services/${service}/instances/${encodeURIComponent(instance)}`;
	}

	#tell(words: string): void {
		if (words === this.#told) return;
		this.#told = words;
		if (words === "") this.#options.log.info("the registration at Nexus is renewed again");
		else this.#options.log.warn("this instance cannot be registered at Nexus", { error: words });
	}
}
