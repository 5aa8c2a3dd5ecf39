/** Where a sidecar's certificate and trust bundle come from, as its keeper sees it: files today, Nexus, or whatever else can tell of both. */
import type { KeyedChain } from "../../identity/keyed-chain.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";

export type IdentityFaultReason =
	/** A file that is needed is not there, or cannot be read. */
	| "file_missing"
	/** Certificate, key or roots are there, and of no use. */
	| "material_refused"
	/** Whoever renews the certificate has not done so. */
	| "not_renewed"
	/** Where others could read or exchange what is kept there. */
	| "cache_refused"
	/** No join token, a damaged one, or one that Nexus does not take. */
	| "token_refused"
	| "authority_unreachable"
	/** Whoever answers there is not the Nexus that was meant. */
	| "authority_untrusted"
	/** Nexus answers, and has no authority, or does not issue now. */
	| "authority_unavailable"
	/** Nexus does not issue for this service. */
	| "authority_refused"
	/** What came back is not an answer of Nexus. */
	| "bad_answer";

export interface IdentityFault {
	readonly reason: IdentityFaultReason;
	/** One sentence without its full stop, for logs and readiness; never a key or a token. */
	readonly words: string;
	/** How much patience was asked for. */
	readonly retryAfterMs?: number | undefined;
}

/** Called in any order and any number of times, from `start` to `stop`. */
export interface IdentityEvents {
	/** A certificate with its key; whether it is of use is judged by who is told. */
	onCertificate(keyed: KeyedChain): void;
	onBundle(bundle: TrustBundle): void;
	/** Something does not work. The source goes on trying; what it gave before stays. */
	onFault(fault: IdentityFault): void;
	/** All that was told by `onFault` is over. */
	onRecovered(): void;
}

export interface IdentitySource {
	/** For people, such as `files, tls.crt`. */
	readonly name: string;
	/** Once. Never throws: what is missing is a fault, and waited for. */
	start(events: IdentityEvents): void;
	/** The certificate is due to be replaced: tries once. Undefined where a new one was handed to `onCertificate`. Never rejects. */
	renew(): Promise<IdentityFault | undefined>;
	/** Idempotent; nothing is called back after it. */
	stop(): void;
}
