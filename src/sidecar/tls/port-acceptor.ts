/** How a port of the sidecar takes TLS: with the certificate of the mesh, from callers that show one. */

import type { DeadlineWheel } from "../../core/deadline-wheel.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import type { LoopMemory } from "../../net/loop-memory.ts";
import type { ReadyStream } from "../../net/ready-stream.ts";
import { TlsAcceptor } from "../../net/tls-accept.ts";
import type { Handshakes } from "../../net/tls-handshakes.ts";
import type { TlsVersion } from "../../policy/identity-policy.ts";
import { localAnswer } from "../exchange/local-answer.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";
import type { TlsObserver, TlsPlace } from "../identity/tls-observer.ts";

/** Longer than Envoy's connect timeouts, shorter than its transport_socket_connect_timeout of 15 s; the honest need a few round trips. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** As long as a connection is kept that has sent nothing: plain text need not begin at once. */
const FIRST_BYTE_TIMEOUT_MS = 75_000;
/** Best first; HTTP/2 joins it with its codec. Without a name in common the handshake fails, as the peer would not understand us. */
const ALPN: readonly string[] = ["http/1.1"];
/** The caller is at fault, whatever the reason means to one who calls: not to be tried again elsewhere. */
const REFUSED_STATUS = 403;

export interface PortTls {
	readonly mode: "strict" | "permissive";
	readonly minVersion: TlsVersion;
	readonly identity: MeshIdentity;
}

export interface AcceptorDeps {
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly handshakes: Handshakes;
	readonly tlsObserver: TlsObserver;
}

export interface AcceptorEvents {
	readonly place: (address: string) => TlsPlace;
	readonly onReady: (stream: ReadyStream<VerifiedPeer>) => void;
	/** A connection that never became ready is closed. */
	readonly onGone: () => void;
}

export type Acceptor = TlsAcceptor<VerifiedPeer, TlsRefusal>;

/** What a port needs to take TLS, without knowing how. */
export interface AcceptorMaker {
	readonly tls: PortTls;
	make(deps: AcceptorDeps, events: AcceptorEvents): Acceptor;
}

export function acceptorMaker(tls: PortTls): AcceptorMaker {
	return { tls, make: (deps, events) => makeAcceptor(tls, deps, events) };
}

function makeAcceptor(tls: PortTls, deps: AcceptorDeps, { place, onReady, onGone }: AcceptorEvents): Acceptor {
	const { identity, minVersion, mode } = tls;
	const { tlsObserver, wheel, shared, handshakes } = deps;
	return new TlsAcceptor<VerifiedPeer, TlsRefusal>(
		mode,
		{
			contexts: identity.server(minVersion),
			clientCertificate: "required",
			alpn: ALPN,
			handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
			firstByteTimeoutMs: FIRST_BYTE_TIMEOUT_MS,
			answerToPlaintext: localAnswer({
				reason: "tls_plaintext_on_tls_port",
				detail: "",
				requestId: "",
				close: true,
				headRequest: false,
				minorVersion: 1,
			}),
			answerToRefused: ({ reason, words }) =>
				localAnswer({ reason, detail: words, requestId: "", close: true, headRequest: false, minorVersion: 1, status: REFUSED_STATUS }),
			verify: (shown) => identity.verifyCaller(shown),
			onReady: (stream, resumed) => {
				const where = place(stream.socket.remoteAddress ?? "");
				if (stream.peer === undefined) tlsObserver.onPlaintext(where);
				else tlsObserver.onSecured(where, stream.peer.id.uri, resumed);
				onReady(stream);
			},
			onFailed: (failure, { remoteAddress }) => tlsObserver.onFailed(place(remoteAddress), failure),
			onGone,
		},
		wheel,
		shared,
		handshakes,
	);
}
