/**
 * Keeps a sidecar's identity alive: takes what its source gives once it is of use, has it renewed in time, hands it to MeshIdentity, and
 * tells people early when that goes wrong.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import { ChainMemo } from "../../identity/chain-memo.ts";
import { nameText } from "../../identity/distinguished-name.ts";
import type { KeyedChain } from "../../identity/keyed-chain.ts";
import { Rotation, type RotationWarning } from "../../identity/rotation.ts";
import { type SpiffeId, spiffeIdOf } from "../../identity/spiffe-id.ts";
import { roughly, type TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import type { IdentityPolicy } from "../../policy/identity-policy.ts";
import type { EventFeed } from "../telling/event-feed.ts";
import type { IdentityFault, IdentitySource } from "./identity-source.ts";
import { type IdentityStatus, identityStatus } from "./identity-status.ts";
import { MeshIdentity } from "./mesh-identity.ts";
import { ownCertificateFault } from "./own-certificate.ts";

/** How late it is seen that a certificate which was refused is of use now: clocks are set, and what was not valid yet becomes so. */
const RECONSIDER_MS = 5_000;

/** A source has fewer different troubles at once. */
const TOLD_MAX = 16;

export interface IdentityKeeperOptions {
	readonly policy: IdentityPolicy;
	readonly service: string;
	readonly trustDomain: string;
	/** Of `nexus.url`; needed where the policy's kind is `nexus`. */
	readonly nexusUrl: string | undefined;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	readonly feed: EventFeed;
	/** As `TlsObserver.onCut`. */
	readonly onCut: (refusal: TlsRefusal) => void;
}

export class IdentityKeeper {
	readonly #options: IdentityKeeperOptions;
	readonly #self: SpiffeId;
	readonly #memo = new ChainMemo();
	readonly #ready = Promise.withResolvers<MeshIdentity>();
	#source: IdentitySource | undefined;
	#identity: MeshIdentity | undefined;
	#bundle: TrustBundle | undefined;
	/** Given by the source, and not in use (yet). */
	#offered: KeyedChain | undefined;
	#rotation: Rotation | undefined;
	#reconsidering: Timer | undefined;
	#lastFault: IdentityFault | undefined;
	/** Words that stand in the log already. */
	readonly #told = new Set<string>();
	readonly #renewals = { renewed: 0, failed: 0 };
	#stopped = false;

	/** Throws where service and trust domain make no SPIFFE ID, or the URL is needed and not of https; policies are checked for that. */
	constructor(options: IdentityKeeperOptions) {
		this.#options = options;
		const { policy, nexusUrl } = options;
		if (policy.kind === "nexus" && nexusUrl?.startsWith("https://") !== true) throw new TypeError(`not an https: URL: ${nexusUrl}`);
		const self = spiffeIdOf(options.trustDomain, options.service);
		if (!self.ok) throw new TypeError(`no identity can be made of ${options.trustDomain} and ${options.service}: ${self.fault}`);
		this.#self = self.id;
	}

	/** Resolves with the first certificate and bundle that are of use, however long that takes. Never rejects; after `stop` it does not resolve. */
	async start(): Promise<MeshIdentity> {
		const source = await this.#open();
		if (!this.#stopped) {
			this.#source = source;
			source.start({
				onCertificate: (keyed) => this.#onCertificate(keyed),
				onBundle: (bundle) => this.#onBundle(bundle),
				onFault: (fault) => this.#tell(fault),
				onRecovered: () => this.#onRecovered(),
			});
		}
		return this.#ready.promise;
	}

	/** Why this service cannot speak TLS; empty where it can. */
	notReady(): string[] {
		if (this.#identity === undefined) return [`no identity yet: ${this.#lastFault?.words ?? "its source has not answered"}`];
		const endedMs = this.#identity.keyed.chain[0]?.notAfterMs ?? 0;
		if (this.#options.clock.wallMs() <= endedMs) return [];
		return [`the certificate ended at ${iso(endedMs)}${this.#lastFault === undefined ? "" : `: ${this.#lastFault.words}`}`];
	}

	/** For people. No secrets. */
	status(): IdentityStatus {
		return identityStatus({
			source: this.#source?.name ?? this.#options.policy.kind,
			self: this.#self,
			identity: this.#identity,
			bundle: this.#bundle,
			phase: this.#rotation?.phase,
			lastFault: this.#lastFault,
			renewals: this.#renewals,
			nowMs: this.#options.clock.wallMs(),
		});
	}

	/** Idempotent. */
	stop(): void {
		this.#stopped = true;
		this.#source?.stop();
		this.#rotation?.stop();
		this.#reconsidering?.cancel();
		this.#identity?.stop();
	}

	/** Each source is loaded where it is configured, and only there. */
	async #open(): Promise<IdentitySource> {
		const { policy, trustDomain, nexusUrl, clock, rng } = this.#options;
		if (policy.kind === "nexus") {
			const { NexusSource } = await import("./nexus-source.ts");
			const { tokenFile, cacheDir } = policy;
			return new NexusSource({ url: nexusUrl ?? "", tokenFile, cacheDir, self: this.#self, clock, rng });
		}
		const { FileSource } = await import("./file-source.ts");
		return new FileSource({ files: policy, trustDomain, clock });
	}

	#onCertificate(keyed: KeyedChain): void {
		this.#offered = keyed;
		this.#consider();
	}

	#onBundle(bundle: TrustBundle): void {
		this.#bundle = bundle;
		this.#identity?.trustFromNowOn(bundle);
		this.#consider();
		const words = this.#identity && this.#faultOf(this.#identity.keyed, bundle);
		if (words !== undefined) this.#tell({ reason: "material_refused", words: `our own certificate is of no use any more: ${words}` });
	}

	#onRecovered(): void {
		if (this.#told.size > 0) this.#options.log.info("the source of the identity works again", { source: this.#source?.name });
		this.#told.clear();
		this.#lastFault = undefined;
	}

	/** What others would refuse is not shown to them: the old certificate stays, and this one is looked at again. */
	#consider(): void {
		this.#reconsidering?.cancel();
		const [offered, bundle] = [this.#offered, this.#bundle];
		if (offered === undefined || bundle === undefined || this.#stopped) return;
		const words = this.#faultOf(offered, bundle) ?? this.#show(offered, bundle);
		if (words === undefined) {
			this.#offered = undefined;
			return;
		}
		this.#tell({ reason: "material_refused", words: `the certificate that ${this.#source?.name ?? "the source"} has given is of no use: ${words}` });
		this.#reconsidering = this.#options.clock.setTimer(RECONSIDER_MS, () => this.#consider());
	}

	#faultOf(keyed: KeyedChain, bundle: TrustBundle): string | undefined {
		return ownCertificateFault(keyed, { self: this.#self, bundle, nowMs: this.#options.clock.wallMs(), memo: this.#memo });
	}

	/** A sentence where it is of no use. */
	#show(keyed: KeyedChain, bundle: TrustBundle): string | undefined {
		const { clock, onCut } = this.#options;
		const before = this.#identity?.keyed;
		if (this.#identity === undefined) {
			const made = MeshIdentity.create({ keyed, bundle }, { self: this.#self, clock, onCut });
			if (typeof made === "string") return made;
			this.#identity = made;
		} else {
			const fault = this.#identity.showFromNowOn(keyed);
			if (fault !== undefined) return fault;
		}
		this.#onRecovered();
		this.#follow(keyed, before);
		this.#ready.resolve(this.#identity);
		return undefined;
	}

	#follow({ chain: [leaf] }: KeyedChain, before: KeyedChain | undefined): void {
		const { clock, rng, log, feed } = this.#options;
		if (leaf === undefined) return;
		const old = before?.chain[0];
		const facts = { identity: this.#self.uri, issuer: nameText(leaf.issuer), notAfter: iso(leaf.notAfterMs) };
		if (old === undefined) log.info("this service has its certificate", { ...facts, serial: leaf.serial });
		else {
			this.#renewals.renewed++;
			log.info("the certificate was renewed", { ...facts, oldSerial: old.serial, newSerial: leaf.serial });
			feed.emit("nexus.mesh.certificate.rotated", { ...facts, oldSerial: old.serial, newSerial: leaf.serial }, this.#self.uri);
		}
		if (old !== undefined && leaf.notAfterMs > old.notAfterMs) {
			this.#rotation?.renewed(leaf);
			return;
		}
		// One that ends sooner is in use all the same, and has a schedule of its own.
		this.#rotation?.stop();
		const rotation: Rotation = new Rotation(leaf, {
			clock,
			rng,
			onRenew: () => void this.#renew(rotation),
			onExpiring: (warning) => this.#warn(warning),
			onExpired: (warning) => this.#warn(warning),
		});
		this.#rotation = rotation;
	}

	async #renew(rotation: Rotation): Promise<void> {
		const fault = await this.#source?.renew();
		// Where it has worked, the new certificate was followed by now.
		if (rotation !== this.#rotation || rotation.phase !== "renewing") return;
		this.#renewals.failed++;
		rotation.failed(fault?.words ?? this.#lastFault?.words ?? "");
	}

	#warn({ leftMs, failures, lastError }: RotationWarning): void {
		const leaf = this.#identity?.keyed.chain[0];
		if (leaf === undefined) return;
		const data = { identity: this.#self.uri, serial: leaf.serial, notAfter: iso(leaf.notAfterMs), leftMs, failures, lastError };
		if (leftMs > 0)
			this.#options.log.warn(`the certificate ends in ${roughly(leftMs)} and is not renewed`, { ...data, reason: "certificate_expiring" });
		else this.#options.log.error("the certificate has ended: no other service takes it any more", { ...data, reason: "tls_cert_expired" });
		this.#options.feed.emit("nexus.mesh.certificate.expiring", { ...data, expired: leftMs === 0 }, this.#self.uri);
	}

	/** The same once, until something has worked in between. */
	#tell(fault: IdentityFault): void {
		this.#lastFault = fault;
		if (this.#told.has(fault.words)) return;
		if (this.#told.size >= TOLD_MAX) this.#told.clear();
		this.#told.add(fault.words);
		this.#options.log.warn(fault.words, { reason: fault.reason });
	}
}

function iso(ms: number): string {
	return new Date(ms).toISOString();
}
