/** Whether who answers is the Nexus of our trust domain: by the trust bundle, and before there is one by the root that the join token names. */
import type { Clock } from "../../core/clock.ts";
import { readCertificate } from "../../identity/certificate.ts";
import { ChainMemo } from "../../identity/chain-memo.ts";
import { type SpiffeId, spiffeIdOf } from "../../identity/spiffe-id.ts";
import { tlsRefusal } from "../../identity/tls-refusal.ts";
import { readTrustBundle, rootsPem, type TrustBundle } from "../../identity/trust-bundle.ts";
import { type ChainVerdict, verifyChain } from "../../identity/verify-chain.ts";
import type { ShownPeer } from "../../net/tls-peer.ts";

/** Nexus' own name in every trust domain. */
export const NEXUS_SERVICE = "nexus";

export class NexusTrust {
	readonly nexus: SpiffeId;
	readonly #self: SpiffeId;
	readonly #clock: Clock;
	readonly #memo = new ChainMemo();
	/** Undefined before the first contact. */
	bundle: TrustBundle | undefined;

	constructor(self: SpiffeId, clock: Clock) {
		this.#self = self;
		this.#clock = clock;
		const nexus = spiffeIdOf(self.trustDomain, NEXUS_SERVICE);
		if (!nexus.ok) throw new TypeError(`${self.trustDomain} is no trust domain`);
		this.nexus = nexus.id;
	}

	/**
	 * `root`: of a join token, which somebody has given to this service on purpose, so that its word also counts where the bundle knows the
	 * authority no more: a service that slept while the root was replaced needs nothing but a new token.
	 */
	verify(shown: ShownPeer, root?: string): ChainVerdict {
		const verdict = this.bundle && this.#verdict(shown, this.bundle);
		if (root === undefined || (verdict !== undefined && (verdict.ok || verdict.reason !== "tls_unknown_ca"))) return verdict ?? this.#noRoot("");
		const anchor = anchorIn(shown, root, this.#self.trustDomain);
		return anchor === undefined ? this.#noRoot(root) : this.#verdict(shown, anchor);
	}

	#verdict({ chain, resumed }: ShownPeer, bundle: TrustBundle): ChainVerdict {
		const self = this.#self.uri;
		return verifyChain(chain, { bundle, nowMs: this.#clock.wallMs(), purpose: "server", expected: this.nexus, self, memo: this.#memo, resumed });
	}

	#noRoot(root: string): ChainVerdict {
		const words = root === "" ? "nothing tells which authority to trust" : `the authority is not the one that the join token names (root ${root})`;
		return tlsRefusal("tls_unknown_ca", words, { self: this.#self.uri, expected: this.nexus.uri, peer: "" });
	}
}

/** Trusts the one certificate of the chain that has this fingerprint. */
function anchorIn({ chain }: ShownPeer, fingerprint: string, trustDomain: string): TrustBundle | undefined {
	for (const der of chain) {
		const reading = readCertificate(der);
		if (!reading.ok || reading.certificate.fingerprint !== fingerprint) continue;
		const bundle = readTrustBundle({ version: 0, trustDomains: { [trustDomain]: rootsPem([reading.certificate]) } });
		return bundle.ok ? bundle.bundle : undefined;
	}
	return undefined;
}
