/** Who has opened a connection to a local API, as far as the connection itself tells. */
import type { VerifiedPeer } from "../identity/verify-chain.ts";

export interface Caller {
	/** Over TLS. */
	readonly isSecure: boolean;
	/** Who has shown a certificate that was verified; whether it is still good is for each request to ask. */
	readonly peer: VerifiedPeer | undefined;
}

export const PLAIN_CALLER: Caller = Object.freeze({ isSecure: false, peer: undefined });
