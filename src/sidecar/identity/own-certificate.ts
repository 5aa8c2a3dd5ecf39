/** Whether a certificate of ours is of use: what others would refuse is refused here first, where its owner sees it. */
import type { ChainMemo } from "../../identity/chain-memo.ts";
import type { KeyedChain } from "../../identity/keyed-chain.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { verifyChain } from "../../identity/verify-chain.ts";

export interface OwnCertificateOptions {
	readonly self: SpiffeId;
	/** Others have the same one, or soon will. */
	readonly bundle: TrustBundle;
	/** Wall time. */
	readonly nowMs: number;
	readonly memo: ChainMemo;
}

/** One sentence, undefined where it is of use to call and to be called. */
export function ownCertificateFault({ chain }: KeyedChain, { self, bundle, nowMs, memo }: OwnCertificateOptions): string | undefined {
	const presented = chain.map(({ der }) => der);
	for (const purpose of ["server", "client"] as const) {
		const verdict = verifyChain(presented, { bundle, nowMs, purpose, self: self.uri, memo });
		if (!verdict.ok) return verdict.words;
		if (verdict.id.uri !== self.uri) return `the certificate is for ${verdict.id.uri}, and this service is ${self.uri}`;
	}
	// Others allow for clocks that differ; we know when ours has ended.
	const endMs = chain[0]?.notAfterMs ?? 0;
	return nowMs > endMs ? `the certificate ended at ${new Date(endMs).toISOString()}` : undefined;
}
