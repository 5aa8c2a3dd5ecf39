/** The trust bundle as it is now: what callers are verified with, and what sidecars are sent. A change is a new one, seen by all at once. */
import type { Clock } from "../../core/clock.ts";
import type { Certificate } from "../../identity/certificate.ts";
import { ChainMemo } from "../../identity/chain-memo.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import { readTrustBundle, rootsPem, type TrustBundle, type TrustBundleDocument } from "../../identity/trust-bundle.ts";
import { type ChainVerdict, recheckPeer, type VerifiedPeer, verifyChain } from "../../identity/verify-chain.ts";
import type { IdentityState } from "./identity-state.ts";

export interface TrustView {
	readonly trustDomain: string;
	readonly roots: readonly Certificate[];
	/** Of the certificate that issues. */
	readonly issuer: string;
	readonly state: IdentityState;
}

export interface Published {
	readonly bundle: TrustBundle;
	readonly document: TrustBundleDocument;
	readonly issuer: string;
	/** `{"bundle": ..., "issuer": ...}`, made once for all who ask. */
	readonly text: string;
}

export class Trust {
	readonly #clock: Clock;
	/** SPIFFE ID of Nexus. */
	readonly #self: string;
	readonly #memo = new ChainMemo();
	readonly #listeners = new Set<() => void>();
	#now: Published;

	constructor(view: TrustView, self: string, clock: Clock) {
		this.#clock = clock;
		this.#self = self;
		this.#now = published(view);
	}

	get now(): Published {
		return this.#now;
	}

	publish(view: TrustView): void {
		this.#now = published(view);
		for (const listener of this.#listeners) listener();
	}

	/** After each change. */
	onChange(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	verify(chain: readonly Uint8Array[], resumed: boolean): ChainVerdict {
		const { bundle } = this.#now;
		return verifyChain(chain, { bundle, nowMs: this.#clock.wallMs(), purpose: "client", self: this.#self, memo: this.#memo, resumed });
	}

	/** Of a service that Nexus calls; `expected`: the one that is meant, undefined: any of the mesh. */
	verifyCallee(chain: readonly Uint8Array[], expected: SpiffeId | undefined): ChainVerdict {
		const { bundle } = this.#now;
		return verifyChain(chain, { bundle, nowMs: this.#clock.wallMs(), purpose: "server", expected, self: this.#self, memo: this.#memo });
	}

	/** Whether whoever was verified before still is who it was: 0.2 us, for each of its requests. */
	recheck(peer: VerifiedPeer): TlsRefusal | undefined {
		return recheckPeer(peer, { bundle: this.#now.bundle, nowMs: this.#clock.wallMs(), self: this.#self });
	}
}

function published({ trustDomain, roots, issuer, state }: TrustView): Published {
	const document: TrustBundleDocument = {
		version: state.version,
		trustDomains: { [trustDomain]: rootsPem(roots) },
		deniedSerials: state.deniedSerials.map(({ serial }) => serial),
		deniedIdentities: state.deniedIdentities,
	};
	const reading = readTrustBundle(document);
	if (!reading.ok) throw new Error(`the trust bundle cannot be made: ${reading.faults.join("; ")}`);
	return { bundle: reading.bundle, document, issuer, text: JSON.stringify({ bundle: document, issuer }) };
}
