/** The certificate authority of the mesh, as operators look at it, rotate it, and take trust away. */
import type { CallOptions, JsonCalls } from "./json-calls.ts";

export interface AuthorityState {
	readonly trustDomain: string;
	readonly bundleVersion: number;
	/** SHA-256 of the certificate that issues now, hexadecimal. */
	readonly issuer: string;
	readonly certificateTtlMs: number;
	readonly hasRootKey: boolean;
	readonly roots: readonly AuthorityCertificate[];
	readonly intermediates: readonly AuthorityCertificate[];
	readonly deniedSerials: readonly string[];
	readonly deniedIdentities: readonly string[];
	readonly workloadCount: number;
	/** At most 1,000, those seen last first. */
	readonly workloads: readonly Workload[];
	readonly rotation: Rotation | null;
}

export interface AuthorityCertificate {
	readonly subject: string;
	readonly serial: string;
	readonly fingerprint: string;
	readonly notBefore: string;
	readonly notAfter: string;
	readonly role: "issuing" | "trusted" | "retiring";
}

export interface Workload {
	readonly identity: string;
	readonly address: string;
	readonly serial: string;
	readonly issuer: string;
	readonly notAfter: string;
	/** That it has acknowledged. */
	readonly bundleVersion: number;
	readonly lastSeen: string;
}

export interface Rotation {
	readonly what: "intermediate" | "root";
	readonly step: "add" | "issue" | "retire";
	readonly startedAt: string;
	readonly stepSince: string;
	readonly patienceLeftMs: number;
	readonly waitsForCount: number;
	/** At most 100. */
	readonly waitsFor: readonly (Workload & { readonly lacks: string })[];
}

export interface TrustBundle {
	readonly version: number;
	/** By trust domain: its root authorities, PEM. */
	readonly trustDomains: Readonly<Record<string, string>>;
	readonly deniedSerials: readonly string[];
	readonly deniedIdentities: readonly string[];
}

/** A serial number in hexadecimal, or an identity: a SPIFFE ID, or the name of a service. */
export type Denial = { readonly serial: string } | { readonly identity: string };

const REVOCATIONS = "/v1/authority/revocations";

/** Each call rejects with a NexusError where it is refused; with status 503, `no_authority`, where this Nexus is none. */
export class AuthorityClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	state(options: CallOptions = {}): Promise<AuthorityState> {
		return this.#calls.json("/v1/authority", options);
	}

	/** Begins; it goes on by itself, and `state` shows what it waits for. Rejects with status 409, `under_way`, where one is. */
	rotate(what: Rotation["what"], options: CallOptions = {}): Promise<AuthorityState> {
		return this.#calls.json("/v1/authority/rotate", { ...options, method: "POST", body: { what } });
	}

	/** Resolves with the version of the trust bundle that says so. */
	async deny(denial: Denial, options: CallOptions = {}): Promise<number> {
		return (await this.#calls.json<{ bundleVersion: number }>(REVOCATIONS, { ...options, method: "POST", body: denial })).bundleVersion;
	}

	async allow(denial: Denial, options: CallOptions = {}): Promise<number> {
		return (await this.#calls.json<{ bundleVersion: number }>(REVOCATIONS, { ...options, method: "DELETE", body: denial })).bundleVersion;
	}

	/** Whom the mesh trusts. */
	async trustBundle(options: CallOptions = {}): Promise<TrustBundle> {
		return (await this.#calls.json<{ bundle: TrustBundle }>("/v1/trust-bundle", options)).bundle;
	}
}
