/** TLS in front of a local API, on the same port as plain text: the first byte decides. Callers may show a certificate of the mesh, and need not. */
import { REASONS } from "../core/reasons.ts";
import type { TlsRefusal } from "../identity/tls-refusal.ts";
import type { ChainVerdict, VerifiedPeer } from "../identity/verify-chain.ts";
import type { SecureContexts } from "../net/secure-contexts.ts";
import { TlsAcceptor } from "../net/tls-accept.ts";
import type { FailedPeer } from "../net/tls-arrival.ts";
import type { TlsFailure } from "../net/tls-cause.ts";
import { Handshakes } from "../net/tls-handshakes.ts";
import { type Caller, PLAIN_CALLER } from "./caller.ts";
import type { StartFront } from "./front.ts";
import { type Problem, problemText } from "./problem.ts";

// A round trip or two; who takes longer holds 60 KB of ours.
const HANDSHAKE_TIMEOUT_MS = 10_000;
// A connection may be opened ahead of its first request.
const FIRST_BYTE_TIMEOUT_MS = 75_000;

export interface TlsFrontOptions {
	readonly contexts: SecureContexts;
	/** `resumed`: of the chain TLS shows the leaf alone. */
	readonly verify: (chain: readonly Uint8Array[], resumed: boolean) => ChainVerdict;
	readonly onFailed: (failure: TlsFailure | TlsRefusal, peer: FailedPeer) => void;
}

interface Accepted {
	readonly ok: true;
	readonly peer: VerifiedPeer | undefined;
}

const ANONYMOUS: Accepted = Object.freeze({ ok: true, peer: undefined });

export function tlsFront({ contexts, verify, onFailed }: TlsFrontOptions): StartFront {
	return ({ wheel, shared, clock, onReady, onGone }) =>
		new TlsAcceptor<Accepted, TlsRefusal>(
			"permissive",
			{
				contexts,
				clientCertificate: "requested",
				alpn: ["http/1.1"],
				handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
				firstByteTimeoutMs: FIRST_BYTE_TIMEOUT_MS,
				// Plain text is taken as well; what it may do is for each request.
				answerToPlaintext: "",
				answerToRefused: (refusal) => refusalText(problemOf(refusal)),
				verify({ chain, resumed }) {
					if (chain.length === 0) return ANONYMOUS;
					const verdict = verify(chain, resumed);
					return verdict.ok ? { ok: true, peer: verdict } : verdict;
				},
				onReady({ socket, peer: accepted, readTo }) {
					const caller: Caller = accepted === undefined ? PLAIN_CALLER : { isSecure: true, peer: accepted.peer };
					onReady({ socket, caller, readTo });
				},
				onFailed,
				onGone,
			},
			wheel,
			shared,
			new Handshakes(clock),
		);
}

/** To the caller of a local API, who is at fault here, whatever the reason says of an upstream. */
function problemOf({ reason, words, hint }: TlsRefusal): Problem {
	return { status: 403, title: REASONS[reason].title, detail: words, reason, hint };
}

function refusalText(problem: Problem): string {
	const body = problemText(problem);
	return `HTTP/1.1 ${problem.status} Forbidden\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
}
