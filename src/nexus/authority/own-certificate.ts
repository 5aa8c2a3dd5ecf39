/** The certificate by which Nexus is known to its callers: issued by itself, renewed by itself, shown from the next handshake on. */
import type { KeyObject } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { Certificate } from "../../identity/certificate.ts";
import { createRequest, privateKeyPem } from "../../identity/certificate-request.ts";
import { chainPem } from "../../identity/keyed-chain.ts";
import { Rotation } from "../../identity/rotation.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import { makeSecureContext, type SecureContextMade, type SecureContextOptions, SecureContexts } from "../../net/secure-contexts.ts";
import type { Issuer } from "./issuer.ts";

export interface OwnCertificateOptions {
	readonly id: SpiffeId;
	/** By which callers outside of the mesh know it. */
	readonly dnsNames: readonly string[];
	readonly addresses: readonly string[];
	readonly issuer: Issuer;
	/** The root above the issuer. It is sent along: a sidecar with nothing but a join token knows its fingerprint alone. */
	readonly root: () => Certificate;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
}

export class OwnCertificate {
	readonly #options: OwnCertificateOptions;
	#contexts: SecureContexts | undefined;
	#rotation: Rotation | undefined;
	#leaf: Certificate | undefined;
	#shown: { readonly certificate: string; readonly key: KeyObject } | undefined;
	/** Fingerprint of what has issued the present one. */
	#issuer = "";

	constructor(options: OwnCertificateOptions) {
		this.#options = options;
	}

	/** Only after the first `renew`. */
	get contexts(): SecureContexts {
		if (this.#contexts === undefined) throw new Error("Nexus has no certificate yet");
		return this.#contexts;
	}

	get leaf(): Certificate | undefined {
		return this.#leaf;
	}

	get issuer(): string {
		return this.#issuer;
	}

	/** Counts the renewals. */
	get generation(): number {
		return this.contexts.generation;
	}

	/** As Nexus shows itself where it is the one who calls; of the present certificate alone. */
	clientContext(options: Pick<SecureContextOptions, "trust" | "minVersion">): SecureContextMade {
		if (this.#shown === undefined) return { ok: false, fault: "Nexus has no certificate yet" };
		const { certificate, key } = this.#shown;
		return makeSecureContext({ certificate, key: privateKeyPem(key), ...options });
	}

	/** A new key and a new certificate, in use once it resolves; a string says why there is none, and the old one stays. */
	async renew(): Promise<string | undefined> {
		const { id, dnsNames, addresses, issuer, root, logger } = this.#options;
		const by = issuer.authority.certificate.fingerprint;
		const { key, request } = createRequest(id);
		const issued = await issuer.issueFor(id, request, dnsNames, addresses);
		if (!issued.ok) return issued.words;
		const [leaf] = issued.chain;
		if (leaf === undefined) return "the issuer has made no certificate";
		const certificate = chainPem([...issued.chain, root()]);
		const made = makeSecureContext({ certificate, key: privateKeyPem(key), trust: "own" });
		if (!made.ok) return made.fault;
		if (this.#contexts === undefined) this.#contexts = new SecureContexts(made.context);
		else this.#contexts.swap(made.context);
		this.#leaf = leaf;
		this.#shown = { certificate, key };
		this.#issuer = by;
		this.#follow(leaf);
		logger.info("Nexus shows a new certificate", { serial: leaf.serial, notAfter: new Date(leaf.notAfterMs).toISOString() });
		return undefined;
	}

	close(): void {
		this.#rotation?.stop();
	}

	#follow(leaf: Certificate): void {
		const { clock, rng, logger } = this.#options;
		this.#rotation?.stop();
		const rotation = new Rotation(leaf, {
			clock,
			rng,
			onRenew: () => void this.#renewed(rotation),
			onExpiring: (warning) => logger.warn("the certificate of Nexus ends soon, and could not be renewed", { ...warning }),
			onExpired: (warning) => logger.error("the certificate of Nexus has ended: nobody can reach it by TLS", { ...warning }),
		});
		this.#rotation = rotation;
	}

	async #renewed(rotation: Rotation): Promise<void> {
		const fault = await this.renew();
		// A renewal that went well has put another one in its place.
		if (fault !== undefined && rotation === this.#rotation) rotation.failed(fault);
	}
}
