/** TLS of a whole data plane. Loaded where a policy needs it, and only there: it costs every sidecar 3 MB and 10 ms of its start. */
import type { Clock } from "../../core/clock.ts";
import type { Snapshot, UpstreamPolicy } from "../../policy/snapshot.ts";
import type { Encryption } from "../../upstream/encryption.ts";
import type { BindFault } from "../data-plane.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";
import type { TlsObserver } from "../identity/tls-observer.ts";
import { type AcceptorMaker, acceptorMaker } from "./port-acceptor.ts";
import { type ExternalContexts, encryptionOf, externalContexts } from "./upstream-encryption.ts";

export class PlaneTls {
	readonly #clock: Clock;
	readonly #observer: TlsObserver;
	readonly #identity: MeshIdentity | undefined;
	#externals: ExternalContexts = new Map();

	constructor(observer: TlsObserver, identity: MeshIdentity | undefined, clock: Clock) {
		this.#clock = clock;
		this.#observer = observer;
		this.#identity = identity;
	}

	/** Reads what `next` names besides itself. With faults nothing has changed. */
	prepare(next: Snapshot): readonly BindFault[] {
		const { contexts, faults } = externalContexts(next);
		if (faults.length === 0) this.#externals = contexts;
		return faults;
	}

	/** Undefined: plain text. */
	encryptionOf(policy: UpstreamPolicy): Encryption | undefined {
		return encryptionOf(policy, { observer: this.#observer, identity: this.#identity, externals: this.#externals, clock: this.#clock });
	}

	/** For the inbound port; undefined: plain text. */
	inbound({ inbound }: Snapshot): AcceptorMaker | undefined {
		const identity = this.#identity;
		if (inbound === undefined || inbound.tls.mode === "off" || identity === undefined) return undefined;
		return acceptorMaker({ mode: inbound.tls.mode, minVersion: inbound.tls.minVersion, identity });
	}
}
