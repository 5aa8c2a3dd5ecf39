/** What a sidecar has of Nexus besides events and certificates: its policy, the lists of services, its own place in them. Loaded where it is used. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { Snapshot } from "../../policy/snapshot.ts";
import type { RegistryListener, ServiceRegistry } from "../../upstream/discovery/registry.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";
import type { KeptLists } from "./kept-lists.ts";
import type { NexusLink } from "./nexus-link.ts";
import type { PolicyFollower, Take } from "./policy-follower.ts";
import type { Registration } from "./registration.ts";
import type { RegistryFollower } from "./registry-follower.ts";

export interface NexusControlOptions {
	readonly service: string;
	readonly instance: string;
	/** Of the program. */
	readonly version: string;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	readonly identity: () => MeshIdentity | undefined;
}

export class NexusControl implements ServiceRegistry {
	readonly #options: NexusControlOptions;
	#link: NexusLink | undefined;
	#policy: PolicyFollower | undefined;
	#services: RegistryFollower | undefined;
	#registration: Registration | undefined;
	#isStopped = false;

	constructor(options: NexusControlOptions) {
		this.#options = options;
	}

	/** Before `next` is made live: what its upstreams will ask for is there then. */
	async prepare(next: Snapshot): Promise<void> {
		const { nexus } = next;
		if (nexus === undefined || !needsControl(next) || this.#isStopped) return;
		if (this.#link === undefined) {
			const [{ NexusLink }, { RegistryFollower }] = await Promise.all([import("./nexus-link.ts"), import("./registry-follower.ts")]);
			const { clock, identity } = this.#options;
			this.#link = new NexusLink({ url: nexus.url, clock, identity: next.identity === undefined ? undefined : identity });
			this.#services = new RegistryFollower({ ...this.#options, link: this.#link, kept: await this.#kept(next.policy?.cacheDir) });
		}
		this.#link.setUrl(nexus.url);
	}

	async #kept(directory: string | undefined): Promise<KeptLists | undefined> {
		if (directory === undefined) return undefined;
		const { KeptLists } = await import("./kept-lists.ts");
		const kept = new KeptLists(directory, this.#options.log);
		await kept.load();
		return kept;
	}

	/** Where the policy comes from Nexus as well: resolves when there is one to begin with, or Nexus has none. */
	async startPolicy({ policy }: Snapshot, take: Take): Promise<void> {
		if (policy === undefined || this.#link === undefined || this.#isStopped) return;
		const { PolicyFollower } = await import("./policy-follower.ts");
		this.#policy = new PolicyFollower({ ...this.#options, link: this.#link, cacheDir: policy.cacheDir });
		await this.#policy.start(take);
	}

	/** Why a start still waits. */
	notReady(): string[] {
		return this.#policy === undefined ? [] : [`no policy of Nexus yet: ${this.#policy.waitsFor}`];
	}

	/** Once requests can come. `inbound`: as it listens, `host:port`. */
	async list({ nexus, zone, inbound }: Snapshot, bound: string | undefined): Promise<void> {
		const register = nexus?.register;
		if (register === undefined || inbound === undefined || bound === undefined || this.#link === undefined) {
			await this.#registration?.set(undefined);
			return;
		}
		if (this.#registration === undefined) {
			const { Registration } = await import("./registration.ts");
			this.#registration ??= new Registration({ ...this.#options, link: this.#link });
		}
		const { address, leaseMs } = register;
		const port = bound.slice(bound.lastIndexOf(":"));
		const { host } = address ?? inbound.listen;
		const isEverywhere = host === "0.0.0.0" || host === "::";
		const said = address === undefined ? port : `:${address.port}`;
		if (this.#isStopped) return;
		await this.#registration.set({ address: isEverywhere ? said : `${host.includes(":") ? `[${host}]` : host}${said}`, zone, leaseMs });
	}

	follow(service: string, listener: RegistryListener): () => void {
		if (this.#services === undefined) {
			listener.onFault("there is no Nexus to ask for its instances");
			return () => {};
		}
		return this.#services.follow(service, listener);
	}

	/** No new requests from others. Resolves when they have had the time to hear of it. */
	async leave(): Promise<void> {
		await this.#registration?.leave();
	}

	stop(): void {
		this.#isStopped = true;
		this.#policy?.stop();
		this.#services?.stop();
		this.#registration?.stop();
		void this.#link?.close();
	}
}

function needsControl({ policy, nexus, upstreams }: Snapshot): boolean {
	return policy !== undefined || nexus?.register !== undefined || [...upstreams.values()].some(({ endpoints }) => endpoints.kind === "registry");
}
