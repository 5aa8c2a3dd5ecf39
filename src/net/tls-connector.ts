/**
 * TLS for the HTTP client of everything that is not traffic (events, checks, certificates): undici's `connect`, with our contexts, our verdict
 * on the peer, and failures that have a type.
 */
import { isIP, type LookupFunction } from "node:net";
import { checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from "node:tls";
import type { buildConnector } from "undici";
import type { Clock } from "../core/clock.ts";
import type { Address } from "../policy/snapshot.ts";
import type { SecureContexts } from "./secure-contexts.ts";
import { failureOf, sslCodeOf, type TlsFailure, tlsFailure } from "./tls-cause.ts";
import { alpnList, closeOnTlsErrors, type Refused, type ShownPeer, shownBy, type Verified } from "./tls-peer.ts";

/** What undici speaks here. */
const ALPN = alpnList(["http/1.1"]);

export type TlsConnector = buildConnector.connector;

export interface TlsConnectorOptions<V extends Verified> {
	/** Where to, whatever the URL says; undefined: host and port of the URL. */
	readonly address?: Address;
	/** Finds the addresses of a name, and may refuse them. Default: the system's. */
	readonly lookup?: LookupFunction;
	/** Sent as SNI, unless it is "" or an address. With `checkHostName` also the name that the certificate must have. */
	readonly serverName: string;
	/** Whether OpenSSL compares the certificate with `serverName`; its finding stands in `libraryVerdict`. */
	readonly checkHostName: boolean;
	readonly contexts: SecureContexts;
	/** For connecting and handshake together. */
	readonly timeoutMs: number;
	readonly clock: Clock;
	/** Runs inside the handshake: at once, and without closing anything. */
	readonly verify: (shown: ShownPeer) => V | Refused;
	/** Ready to be used; `close` follows some day. */
	readonly onReady?: (socket: TLSSocket, peer: V) => void;
}

/** A connection over TLS that was not made. `code` is the reason, `message` the words. */
export class TlsConnectError extends Error {
	readonly failure: TlsFailure | Refused;
	readonly code: string;

	constructor(failure: TlsFailure | Refused) {
		super(failure.words);
		this.failure = failure;
		this.code = failure.reason;
	}
}

/**
 * Why TLS has failed, of what a request was rejected with: a handshake of ours, or a server of TLS 1.3 that refused our certificate after it
 * had let us begin. Undefined where TLS is not the cause.
 */
export function tlsFailureIn(thrown: unknown): TlsFailure | Refused | undefined {
	if (thrown instanceof TlsConnectError) return thrown.failure;
	return sslCodeOf(thrown) === undefined ? undefined : failureOf(thrown, "client");
}

/** Sessions are not resumed: these connections are few, and last. What fails before TLS begins is told as the system tells it. */
export function tlsConnector<V extends Verified>(options: TlsConnectorOptions<V>): TlsConnector {
	return ({ hostname, port }, callback) => void new Connecting(options, addressOf(options, hostname, port), callback);
}

class Connecting<V extends Verified> {
	readonly #options: TlsConnectorOptions<V>;
	readonly #socket: TLSSocket;
	#callback: buildConnector.Callback | undefined;
	#isShaking = false;

	constructor(options: TlsConnectorOptions<V>, to: { path: string } | { host: string; port: number }, callback: buildConnector.Callback) {
		this.#options = options;
		this.#callback = callback;
		const { serverName, contexts, checkHostName, timeoutMs, clock, lookup } = options;
		const socket = connect({
			...to,
			...(lookup === undefined ? {} : { lookup }),
			...(serverName === "" || isIP(serverName) !== 0 ? {} : { servername: serverName }),
			ALPNProtocols: ALPN,
			secureContext: contexts.current,
			// `verify` decides, not Node.
			rejectUnauthorized: false,
			checkServerIdentity: checkHostName ? (_host: string, certificate: PeerCertificate) => checkServerIdentity(serverName, certificate) : accept,
		});
		this.#socket = socket;
		socket.setNoDelay(true);
		const timer = clock.setTimer(timeoutMs, () => this.#fail(this.#timeout()));
		const settled = (): void => timer.cancel();
		socket.once("connect", () => {
			this.#isShaking = true;
		});
		socket.once("secureConnect", () => {
			settled();
			this.#onSecure();
		});
		// Stays: undici has listeners of its own, but not in every moment.
		socket.on("error", (error) => {
			settled();
			this.#fail(this.#isShaking ? new TlsConnectError(failureOf(error, "client")) : error);
		});
		socket.once("close", () => {
			settled();
			this.#fail(new TlsConnectError(tlsFailure("tls_handshake_reset", "the connection was closed before the handshake was done", "peer")));
		});
	}

	#onSecure(): void {
		const callback = this.#callback;
		if (callback === undefined) return;
		closeOnTlsErrors(this.#socket);
		const verdict = this.#options.verify(shownBy(this.#socket));
		if (!verdict.ok) {
			this.#fail(new TlsConnectError(verdict));
			return;
		}
		this.#callback = undefined;
		this.#options.onReady?.(this.#socket, verdict);
		callback(null, this.#socket);
	}

	#timeout(): Error {
		const { timeoutMs } = this.#options;
		if (this.#isShaking) {
			return new TlsConnectError(tlsFailure("tls_handshake_timeout", `the handshake was not done within ${timeoutMs} ms`, "neither"));
		}
		return Object.assign(new Error(`no connection within ${timeoutMs} ms`), { code: "ETIMEDOUT" });
	}

	#fail(error: Error): void {
		const callback = this.#callback;
		this.#callback = undefined;
		this.#socket.destroy();
		callback?.(error, null);
	}
}

function addressOf({ address }: { readonly address?: Address }, hostname: string, port: string): { path: string } | { host: string; port: number } {
	if (address === undefined) return { host: hostname, port: port === "" ? 443 : Number(port) };
	return address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

function accept(): undefined {
	return undefined;
}
