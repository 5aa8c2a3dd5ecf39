/** How webhooks are reached by TLS: which certificate they are shown, and by what they must prove to be who is meant. */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Clock } from "../../../core/clock.ts";
import { ChainMemo } from "../../../identity/chain-memo.ts";
import { parseSpiffeId, type SpiffeId, spiffeIdOf } from "../../../identity/spiffe-id.ts";
import { readTrustBundle, type TrustBundle } from "../../../identity/trust-bundle.ts";
import { verifyChain } from "../../../identity/verify-chain.ts";
import { makeSecureContext, type SecureContextMade, type SecureContextOptions, SecureContexts } from "../../../net/secure-contexts.ts";
import { tlsFailure } from "../../../net/tls-cause.ts";
import { type TlsConnector, tlsConnector } from "../../../net/tls-connector.ts";
import { verifyByLibrary } from "../../../net/tls-dial.ts";
import type { Refused, ShownPeer, Verified } from "../../../net/tls-peer.ts";
import type { Authority } from "../../authority/authority.ts";
import { MESH, SYSTEM } from "../../config/webhook-config.ts";
import { guardedLookup } from "./webhook-address.ts";
import type { NamedCertificate, WebhookCertificates } from "./webhook-certificates.ts";
import { rootsOf, type WebhookTlsDocument } from "./webhook-tls-document.ts";

export interface WebhookTrustOptions {
	readonly clock: Clock;
	/** Undefined: this Nexus has no authority. */
	readonly mesh?: Pick<Authority, "own" | "trust" | "trustDomain"> | undefined;
	readonly certificates?: WebhookCertificates;
}

/** Of one receiver. */
export interface WebhookTls {
	/** Another number whenever connections should be made anew: another certificate is shown, or others are trusted. Never falls. */
	readonly version: number;
	/** With the certificates of now. Throws where they cannot be used. */
	connector(timeoutMs: number): TlsConnector;
}

/** Within `tls` of a document. */
export interface MissingTls {
	readonly key: "client" | "ca" | "identity";
	readonly message: string;
}

/** What is shown, as it is now. */
interface Showing {
	readonly generation: number;
	context(options: Pick<SecureContextOptions, "trust" | "minVersion">): SecureContextMade;
}

/** Who is believed, as it is now. */
interface Believing {
	readonly generation: number;
	readonly trust: SecureContextOptions["trust"];
	/** Whether OpenSSL judges, and the name as well. */
	readonly isLibrary: boolean;
	verify(shown: ShownPeer): Verified | Refused;
}

const VERIFIED: Verified = Object.freeze({ ok: true });
const NOTHING: Showing = Object.freeze({
	generation: 0,
	context: (options) => makeSecureContext({ certificate: "", key: "", ...options }),
} satisfies Showing);

export class WebhookTrust {
	readonly #options: WebhookTrustOptions;
	/** A context with the system's roots takes 10 ms to make and a megabyte to keep: receivers that are reached alike share one. */
	readonly #contexts = new Map<string, { readonly generation: number; readonly contexts: SecureContexts }>();

	constructor(options: WebhookTrustOptions) {
		this.#options = options;
	}

	/** What is asked for and this Nexus has not, of one receiver. */
	missing(tls: WebhookTlsDocument, identity = tls.identity): MissingTls | undefined {
		const { mesh } = this.#options;
		const { client } = tls;
		const ca = rootsOf(tls.ca, identity);
		const names = (): string => `configured are: ${this.#options.certificates?.names.join(", ") || "none"}`;
		if (client === MESH && mesh === undefined) return { key: "client", message: "is mesh, and this Nexus has no authority" };
		if (client !== undefined && client !== MESH) {
			const named = this.#named(client);
			if (named === undefined) return { key: "client", message: `names ${client}, which webhooks.certificates has not; ${names()}` };
			if (!named.isShowable) return { key: "client", message: `names ${client}, which has roots alone: it has neither cert nor key` };
		}
		if (ca === MESH && mesh === undefined)
			return { key: tls.ca === undefined ? "identity" : "ca", message: "needs the roots of the mesh, and this Nexus has no authority" };
		if (ca !== MESH && ca !== SYSTEM) {
			const named = this.#named(ca);
			if (named === undefined) return { key: "ca", message: `names ${ca}, which webhooks.certificates has not; ${names()}` };
			if (named.material.roots === undefined) return { key: "ca", message: `names ${ca}, which has no roots: it has no ca` };
		}
		if (identity === undefined) return undefined;
		const id = this.#idOf(identity);
		if (ca === MESH && id.trustDomain !== mesh?.trustDomain)
			return { key: "identity", message: `is of the trust domain ${id.trustDomain}, and the mesh is ${mesh?.trustDomain}` };
		const bundle = ca === MESH ? undefined : bundleOf(this.#named(ca), id);
		return typeof bundle === "string" ? { key: "ca", message: `names ${ca}, whose roots prove no identity: ${bundle}` } : undefined;
	}

	/** To a receiver at that URL; only for what `missing` has found to be there. Undefined: plain text. */
	towards(to: string, tls: WebhookTlsDocument, identity = tls.identity): WebhookTls | undefined {
		const url = new URL(to);
		if (url.protocol !== "https:") return undefined;
		const showing = this.#showing(tls.client);
		const ca = rootsOf(tls.ca, identity);
		const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
		const serverName = tls.serverName ?? host;
		const believing = this.#believing(ca, identity === undefined ? undefined : this.#idOf(identity), serverName);
		const key = `${tls.client ?? ""} ${ca} ${believing.isLibrary}`;
		return {
			get version() {
				return showing.generation + believing.generation;
			},
			connector: (timeoutMs) =>
				tlsConnector({
					serverName,
					checkHostName: believing.isLibrary,
					contexts: this.#contextsOf(key, showing, believing, ca),
					timeoutMs,
					clock: this.#options.clock,
					lookup: guardedLookup,
					verify: (shown) => believing.verify(shown),
				}),
		};
	}

	#contextsOf(key: string, showing: Showing, { trust, generation: rootsGeneration, isLibrary }: Believing, ca: string): SecureContexts {
		const generation = showing.generation + (isLibrary ? rootsGeneration : 0);
		const kept = this.#contexts.get(key);
		if (kept?.generation === generation) return kept.contexts;
		// As between sidecars; outside not everybody speaks 1.3.
		const made = showing.context({ trust, minVersion: ca === MESH ? "TLSv1.3" : "TLSv1.2" });
		if (!made.ok) throw new Error(`no connection over TLS can be made: ${made.fault}`);
		const contexts = new SecureContexts(made.context);
		this.#contexts.set(key, { generation, contexts });
		return contexts;
	}

	#showing(client: string | undefined): Showing {
		if (client === undefined) return NOTHING;
		const own = client === MESH ? this.#options.mesh?.own : undefined;
		if (own !== undefined) {
			return {
				get generation() {
					return own.generation;
				},
				context: (options) => own.clientContext(options),
			};
		}
		const named = this.#have(client);
		return {
			get generation() {
				return named.generation;
			},
			context: (options) => named.material.context(options),
		};
	}

	#believing(ca: string, expected: SpiffeId | undefined, serverName: string): Believing {
		const { mesh, clock } = this.#options;
		if (ca === SYSTEM) return { generation: 0, trust: "system", isLibrary: true, verify: verifyByLibrary };
		if (ca === MESH) {
			if (mesh === undefined) throw new Error("this Nexus has no authority");
			return {
				// Its version rises with every change of the roots, and of what is revoked.
				get generation() {
					return mesh.trust.now.bundle.version;
				},
				trust: "own",
				isLibrary: false,
				verify({ chain }) {
					const verdict = mesh.trust.verifyCallee(chain, expected);
					return verdict.ok && expected === undefined ? namedAs(chain, serverName) : verdict;
				},
			};
		}
		const named = this.#have(ca);
		if (expected === undefined) {
			return {
				get generation() {
					return named.generation;
				},
				get trust() {
					return { roots: [named.material.roots ?? ""] };
				},
				isLibrary: true,
				verify: verifyByLibrary,
			};
		}
		const memo = new ChainMemo();
		let bundle = bundleOf(named, expected);
		let readAt = named.generation;
		return {
			get generation() {
				return named.generation;
			},
			trust: "own",
			isLibrary: false,
			verify({ chain }) {
				if (readAt !== named.generation) {
					const next = bundleOf(named, expected);
					// Roots that cannot prove an identity take nothing from those before.
					if (typeof next !== "string") bundle = next;
					readAt = named.generation;
				}
				if (typeof bundle === "string") return tlsFailure("tls_unknown_ca", `the roots of ${ca} prove no identity: ${bundle}`, "us");
				return verifyChain(chain, { bundle, nowMs: clock.wallMs(), purpose: "server", expected, self: "", memo });
			},
		};
	}

	#named(name: string): NamedCertificate | undefined {
		return this.#options.certificates?.get(name);
	}

	#have(name: string): NamedCertificate {
		const named = this.#named(name);
		if (named === undefined) throw new Error(`there is no certificate ${name}`);
		return named;
	}

	#idOf(identity: string): SpiffeId {
		const { mesh } = this.#options;
		const reading = identity.includes("://") ? parseSpiffeId(identity) : spiffeIdOf(mesh?.trustDomain ?? "", identity);
		// Documents are checked for that.
		if (!reading.ok) throw new Error(`${identity} is no identity`);
		return reading.id;
	}
}

/** A sentence where the roots are of no use for it. */
function bundleOf(named: NamedCertificate | undefined, { trustDomain }: SpiffeId): TrustBundle | string {
	if (named === undefined) return "they are not there";
	const reading = readTrustBundle({ version: named.generation, trustDomains: { [trustDomain]: named.material.roots ?? "" } });
	return reading.ok ? reading.bundle : reading.faults.join("; ");
}

/** Of a chain that is verified already. */
function namedAs([leaf]: readonly Uint8Array[], name: string): Verified | Refused {
	const certificate = leaf === undefined ? undefined : new X509Certificate(leaf);
	const isNamed = isIP(name) === 0 ? certificate?.checkHost(name) : certificate?.checkIP(name);
	if (isNamed !== undefined) return VERIFIED;
	return tlsFailure("tls_san_mismatch", `the certificate does not name ${name}, but ${certificate?.subjectAltName ?? "nothing"}`, "us");
}
