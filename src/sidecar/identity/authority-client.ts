/** What a sidecar asks the authority of Nexus: a certificate, and the next trust bundle. Tries nothing twice. */
import type { KeyObject } from "node:crypto";
import * as z from "zod/mini";
import type { Clock } from "../../core/clock.ts";
import { createRequest, privateKeyPem } from "../../identity/certificate-request.ts";
import type { JoinToken } from "../../identity/join-token.ts";
import { chainPem, type KeyedChain, keyedChainOf } from "../../identity/keyed-chain.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import { readTrustBundle, type TrustBundle } from "../../identity/trust-bundle.ts";
import { recheckPeer } from "../../identity/verify-chain.ts";
import { makeSecureContext, SecureContexts } from "../../net/secure-contexts.ts";
import { AuthorityConnection, type AuthorityResponse } from "./authority-connection.ts";
import type { IdentityFault, IdentityFaultReason } from "./identity-source.ts";
import type { NexusTrust } from "./nexus-trust.ts";

/** Nexus makes one certificate after the other, and tells who would wait for longer to come again. */
const ISSUE_TIMEOUT_MS = 15_000;
/** Shorter than what middle boxes forget connections after. */
const POLL_WAIT_S = 30;
const POLL_TIMEOUT_MS = (POLL_WAIT_S + 10) * 1000;

const ISSUANCE = z.object({ certificate: z.string(), bundle: z.unknown() });
const BUNDLE_ANSWER = z.object({ bundle: z.unknown(), issuer: z.string().check(z.regex(/^[0-9a-f]{64}$/)) });

export type AuthorityAnswer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: IdentityFault };

export interface Issuance {
	readonly keyed: KeyedChain;
	readonly bundle: TrustBundle;
}

export interface BundleNews {
	readonly bundle: TrustBundle;
	/** Fingerprint of the certificate that issues now. */
	readonly issuer: string;
}

export interface AuthorityClientOptions {
	/** Of Nexus, `https:`. */
	readonly url: string;
	readonly self: SpiffeId;
	readonly trust: NexusTrust;
	readonly clock: Clock;
}

export class AuthorityClient {
	readonly #options: AuthorityClientOptions;
	/** Shows our certificate; of a new one it is made anew, as Nexus is to see that it is in use. */
	#polling: AuthorityConnection | undefined;

	constructor(options: AuthorityClientOptions) {
		this.#options = options;
	}

	/** A new key each time. By a token, or by the certificate that we have. */
	async issue(proof: JoinToken | KeyedChain, signal: AbortSignal): Promise<AuthorityAnswer<Issuance>> {
		const { self, trust } = this.#options;
		const { key, request } = createRequest(self);
		const token = "chain" in proof ? undefined : proof;
		const connection = this.#connect("chain" in proof ? proof : undefined, token?.root);
		try {
			const response = await connection.request({
				method: "POST",
				path: "/v1/certificates",
				...(token === undefined ? {} : { token: token.text() }),
				body: { request: request.toString("base64") },
				timeoutMs: ISSUE_TIMEOUT_MS,
				signal,
			});
			if (!response.ok) return response;
			if (response.status !== 201) return this.#refused(response, token === undefined ? "authority_refused" : "token_refused");
			return issuanceOf(response, key, trust.nexus.uri);
		} finally {
			await connection.close();
		}
	}

	/** Undefined: there was nothing newer than `after` within the time that we give it. */
	async poll(keyed: KeyedChain, after: number, signal: AbortSignal): Promise<AuthorityAnswer<BundleNews | undefined>> {
		this.#polling ??= this.#connect(keyed, undefined);
		const response = await this.#polling.request({
			method: "GET",
			path: `/v1/trust-bundle?after=${after}&wait=${POLL_WAIT_S}s`,
			timeoutMs: POLL_TIMEOUT_MS,
			signal,
		});
		if (!response.ok) return response;
		if (response.status === 204) return { ok: true, value: undefined };
		if (response.status !== 200) return this.#refused(response, "authority_refused");
		const answer = BUNDLE_ANSWER.safeParse(response.body);
		if (!answer.success) return bad("the answer about the trust bundle has not the form of one");
		const bundle = readTrustBundle(answer.data.bundle);
		if (!bundle.ok) return bad(`the trust bundle of Nexus is refused: ${bundle.faults.join("; ")}`);
		return { ok: true, value: { bundle: bundle.bundle, issuer: answer.data.issuer } };
	}

	/** Polls begin anew on a new connection: we show another certificate, or do not trust who is there. */
	reconnect(): void {
		const old = this.#polling;
		this.#polling = undefined;
		void old?.close();
	}

	/** Whether a new bundle still trusts the Nexus that polls are sent to. */
	trusts(bundle: TrustBundle): boolean {
		const { clock, self } = this.#options;
		const peer = this.#polling?.peer;
		return peer === undefined || recheckPeer(peer, { bundle, nowMs: clock.wallMs(), self: self.uri }) === undefined;
	}

	#connect(keyed: KeyedChain | undefined, root: string | undefined): AuthorityConnection {
		const { url, clock, trust } = this.#options;
		const certificate = keyed === undefined ? "" : chainPem(keyed.chain);
		const made = makeSecureContext({ certificate, key: keyed === undefined ? "" : privateKeyPem(keyed.key), trust: "own" });
		// What we have was taken by the same function before.
		if (!made.ok) throw new Error(made.fault);
		return new AuthorityConnection({ url, clock, contexts: new SecureContexts(made.context), verify: (shown) => trust.verify(shown, root) });
	}

	#refused({ status, detail, reason, retryAfterMs }: AuthorityResponse, unauthenticated: IdentityFaultReason): AuthorityAnswer<never> {
		const said = detail === "" ? "" : `: ${detail}`;
		const { self } = this.#options;
		if (status === 401) {
			const what = unauthenticated === "token_refused" ? "the join token" : "our certificate";
			return { ok: false, fault: { reason: unauthenticated, words: `Nexus does not take ${what}${said}` } };
		}
		if (status === 403) return { ok: false, fault: { reason: "authority_refused", words: `Nexus gives ${self.uri} no certificate${said}` } };
		if (status === 429 || status === 503) {
			const words = reason === "no_authority" ? "Nexus has no `authority`, and issues nothing" : `Nexus cannot answer now (status ${status})${said}`;
			return { ok: false, fault: { reason: "authority_unavailable", words, retryAfterMs } };
		}
		return { ok: false, fault: { reason: "bad_answer", words: `Nexus has answered with status ${status}${said}`, retryAfterMs } };
	}
}

function issuanceOf({ body }: AuthorityResponse, key: KeyObject, nexus: string): AuthorityAnswer<Issuance> {
	const answer = ISSUANCE.safeParse(body);
	if (!answer.success) return bad("the answer to a request for a certificate has not the form of one");
	const bundle = readTrustBundle(answer.data.bundle);
	if (!bundle.ok) return bad(`the trust bundle of Nexus is refused: ${bundle.faults.join("; ")}`);
	const reading = keyedChainOf(answer.data.certificate, key);
	if (!reading.ok) return bad(`the certificate of ${nexus} cannot be used: ${reading.fault}`);
	return { ok: true, value: { keyed: reading.keyed, bundle: bundle.bundle } };
}

function bad(words: string): AuthorityAnswer<never> {
	return { ok: false, fault: { reason: "bad_answer", words } };
}
