/** Issues certificates from whatever authority issues now: the one place where Nexus touches the issuing library. */
import type { Clock } from "../../core/clock.ts";
import { type Issued, issueCertificate } from "../../identity/issue.ts";
import type { Authority } from "../../identity/keyed-chain.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import { NEXUS_SERVICE } from "./identity-state.ts";

export { createAuthority, createIntermediate } from "../../identity/new-authority.ts";

// What a host calls itself is no name of a service.
const NOT_DNS_OF_SERVICES: ReadonlySet<string> = new Set(["localhost", NEXUS_SERVICE]);

export interface IssuerOptions {
	readonly clock: Clock;
	/** 1 s to 24 h. */
	readonly certificateTtlMs: number;
	readonly authority: Authority;
}

export class Issuer {
	readonly #clock: Clock;
	readonly #ttlMs: number;
	authority: Authority;

	constructor({ clock, certificateTtlMs, authority }: IssuerOptions) {
		this.#clock = clock;
		this.#ttlMs = certificateTtlMs;
		this.authority = authority;
	}

	/** For a service, by the names that we give it; of the request only the key counts. */
	issue(id: SpiffeId, request: Uint8Array): Promise<Issued> {
		return this.issueFor(id, request, isDnsName(id.service) ? [id.service] : []);
	}

	issueFor(id: SpiffeId, request: Uint8Array, dnsNames: readonly string[], addresses: readonly string[] = []): Promise<Issued> {
		return issueCertificate(this.authority, { request, id, dnsNames, addresses, lifetimeMs: this.#ttlMs, nowMs: this.#clock.wallMs() });
	}
}

/** A service named after segments (ns/shop/sa/payments) or with capitals has no name of this kind. */
function isDnsName(service: string): boolean {
	return service.length <= 253 && /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(service) && !NOT_DNS_OF_SERVICES.has(service);
}
