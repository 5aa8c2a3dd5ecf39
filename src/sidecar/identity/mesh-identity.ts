/**
 * Who this sidecar is, and whom it believes: its certificate as both ends of TLS show it, the trust bundle, and the verdict on every peer.
 * Where certificate and bundle come from is its source's matter.
 */
import type { Clock } from "../../core/clock.ts";
import { privateKeyPem } from "../../identity/certificate-request.ts";
import { ChainMemo } from "../../identity/chain-memo.ts";
import { chainPem, type KeyedChain } from "../../identity/keyed-chain.ts";
import { parseSpiffeId, type SpiffeId } from "../../identity/spiffe-id.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { type ChainVerdict, verifyChain } from "../../identity/verify-chain.ts";
import { makeSecureContext, SecureContexts } from "../../net/secure-contexts.ts";
import type { ShownPeer } from "../../net/tls-peer.ts";
import type { TlsVersion } from "../../policy/identity-policy.ts";
import { type PeeredConnection, PeerWatch } from "./peer-watch.ts";

export interface MeshIdentityOptions {
	readonly self: SpiffeId;
	readonly clock: Clock;
	/** A connection that stood was cut: its peer was revoked, or its root is not trusted any more. */
	readonly onCut: (refusal: TlsRefusal) => void;
}

/** Both at once: neither is of use without the other. */
export interface IdentityMaterial {
	readonly keyed: KeyedChain;
	readonly bundle: TrustBundle;
}

export class MeshIdentity {
	readonly self: SpiffeId;
	readonly #clock: Clock;
	readonly #memo = new ChainMemo();
	readonly #watch: PeerWatch;
	readonly #servers = new Map<TlsVersion, SecureContexts>();
	readonly #client: SecureContexts;
	#keyed: KeyedChain;
	#bundle: TrustBundle;

	/** A sentence where the material is of no use. */
	static create(material: IdentityMaterial, options: MeshIdentityOptions): MeshIdentity | string {
		const fault = faultOf(material.keyed, options.self);
		if (fault !== undefined) return fault;
		const client = contextOf(material.keyed, "TLSv1.3");
		return typeof client === "string" ? client : new MeshIdentity(material, options, client);
	}

	private constructor({ keyed, bundle }: IdentityMaterial, { self, clock, onCut }: MeshIdentityOptions, client: SecureContexts) {
		this.self = self;
		this.#clock = clock;
		this.#watch = new PeerWatch({ clock, self: self.uri, onCut });
		this.#keyed = keyed;
		this.#bundle = bundle;
		this.#client = client;
	}

	get keyed(): KeyedChain {
		return this.#keyed;
	}

	get bundle(): TrustBundle {
		return this.#bundle;
	}

	/** What listeners show. */
	server(minVersion: TlsVersion): SecureContexts {
		let contexts = this.#servers.get(minVersion);
		if (contexts === undefined) {
			const made = contextOf(this.#keyed, minVersion);
			// It was taken once already, with every version.
			if (typeof made === "string") throw new Error(made);
			contexts = made;
			this.#servers.set(minVersion, contexts);
		}
		return contexts;
	}

	/** What connections to services of the mesh show; sidecars speak TLS 1.3 to each other. */
	get client(): SecureContexts {
		return this.#client;
	}

	/** Connections that stand keep what they have shown; new ones show this. Returns a sentence where it is of no use, and nothing has changed. */
	showFromNowOn(keyed: KeyedChain): string | undefined {
		const fault = faultOf(keyed, this.self);
		if (fault !== undefined) return fault;
		const client = contextOf(keyed, "TLSv1.3");
		if (typeof client === "string") return client;
		this.#keyed = keyed;
		this.#client.swap(client.current);
		this.#swapServers();
		return undefined;
	}

	/** Sessions of before are not resumed: their callers are verified anew in full. Whoever is not trusted any more is cut. */
	trustFromNowOn(bundle: TrustBundle): void {
		this.#bundle = bundle;
		this.#swapServers();
		this.#watch.recheck(bundle);
	}

	/** Another context has other keys for its tickets. */
	#swapServers(): void {
		for (const [minVersion, contexts] of this.#servers) {
			const server = contextOf(this.#keyed, minVersion);
			if (typeof server !== "string") contexts.swap(server.current);
		}
	}

	/** Any service of a trusted domain; what it may do is for authorization to decide. */
	verifyCaller(shown: ShownPeer): ChainVerdict {
		return this.#verify(shown, "client", undefined);
	}

	/** `expected`: the service that was meant. */
	verifyCallee(shown: ShownPeer, expected: SpiffeId): ChainVerdict {
		return this.#verify(shown, "server", expected);
	}

	/** Until `unwatch`: ended before its certificates do, and when its peer is not trusted any more. */
	watchCaller(connection: PeeredConnection): void {
		if (connection.peer !== undefined) this.#watch.add(connection, connection.peer.validUntilMs, 1);
	}

	/** When the first certificate of what we show now ends. */
	get ownUntilMs(): number {
		return this.#keyed.chain.reduce((untilMs, { notAfterMs }) => Math.min(untilMs, notAfterMs), Number.POSITIVE_INFINITY);
	}

	/** The callee looks at our certificate, too, the one that it was shown: whichever ends first. */
	watchCallee(connection: PeeredConnection, ownUntilMs: number): void {
		const { peer } = connection;
		if (peer !== undefined) this.#watch.add(connection, Math.min(ownUntilMs, peer.validUntilMs), 2);
	}

	unwatch(connection: PeeredConnection): void {
		this.#watch.remove(connection);
	}

	/** Connections whose peer is watched. */
	get watched(): number {
		return this.#watch.size;
	}

	stop(): void {
		this.#watch.stop();
	}

	#verify({ chain, resumed }: ShownPeer, purpose: "client" | "server", expected: SpiffeId | undefined): ChainVerdict {
		return verifyChain(chain, {
			bundle: this.#bundle,
			nowMs: this.#clock.wallMs(),
			purpose,
			expected,
			self: this.self.uri,
			memo: this.#memo,
			resumed,
		});
	}
}

function contextOf({ chain, key }: KeyedChain, minVersion: TlsVersion): SecureContexts | string {
	const made = makeSecureContext({ certificate: chainPem(chain), key: privateKeyPem(key), trust: "own", minVersion });
	return made.ok ? new SecureContexts(made.context) : made.fault;
}

/** What others would refuse is refused here first, where its owner sees it. */
function faultOf({ chain: [leaf] }: KeyedChain, self: SpiffeId): string | undefined {
	const uri = leaf?.names.uris[0] ?? "";
	const reading = parseSpiffeId(uri);
	if (!reading.ok) return "the certificate names no SPIFFE ID";
	return reading.id.uri === self.uri ? undefined : `the certificate is for ${uri}, and this service is ${self.uri}`;
}
