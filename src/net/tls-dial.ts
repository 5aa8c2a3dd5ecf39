/** The calling end of TLS: connects, shakes hands, and hands over a stream of bytes once a callback has found the peer to be the one that was meant. */
import { isIP, type LookupFunction } from "node:net";
import { checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from "node:tls";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Address } from "../policy/snapshot.ts";
import { type ByteReader, KEEP_ALIVE_DELAY_MS } from "./byte-socket.ts";
import type { LoopMemory } from "./loop-memory.ts";
import type { SecureContexts } from "./secure-contexts.ts";
import { failureOf, failureOfVerdict, type TlsFailure, tlsFailure } from "./tls-cause.ts";
import { closeOnTlsErrors, type Refused, type ShownPeer, shownBy, type Verified } from "./tls-peer.ts";
import type { TlsSessions } from "./tls-sessions.ts";
import { TlsStream } from "./tls-stream.ts";

export interface TlsDialOptions<V extends Verified, R extends Refused> {
	readonly address: Address;
	/** Sent as SNI, unless it is "" or an address. Outside of the mesh also the name that the certificate must have. */
	readonly serverName: string;
	/** As `alpnList` makes it; empty: none is spoken of. */
	readonly alpn: Buffer;
	/** Whether a peer that has agreed to no name of `alpn` is refused; one that speaks no ALPN at all says nothing. */
	readonly alpnRequired: boolean;
	readonly contexts: SecureContexts;
	/** One for each upstream; towards another peer a session would be refused, or worse. */
	readonly sessions: TlsSessions;
	/** From the connection on; connecting has a limit of its own at the caller's. */
	readonly handshakeTimeoutMs: number;
	/** Whether OpenSSL compares the certificate with `serverName`; its finding stands in `libraryVerdict`. */
	readonly checkHostName: boolean;
	/** Runs inside the handshake: at once, and without closing anything. */
	readonly verify: (shown: ShownPeer) => V | R;
	readonly lookup?: LookupFunction;
}

export interface TlsDialEvents<V extends Verified, R extends Refused> {
	/** May be written to from now on. */
	onReady(peer: V, shown: ShownPeer): void;
	/** At most once, instead of `onReady`, after the connection was made: `close` follows. What came before it are errors of the socket. */
	onFailed(failure: TlsFailure | R): void;
}

/** The verdict of OpenSSL, for peers outside of the mesh. */
export function verifyByLibrary(shown: ShownPeer): Verified | TlsFailure {
	return shown.libraryVerdict === "" ? VERIFIED : failureOfVerdict(shown.libraryVerdict);
}

const VERIFIED: Verified = Object.freeze({ ok: true });

/** `reader` gets the bytes. The events of the socket are the caller's to listen to, as with `dial`; TLS's own come by `events`. */
export function dialTls<V extends Verified, R extends Refused>(
	options: TlsDialOptions<V, R>,
	events: TlsDialEvents<V, R>,
	reader: ByteReader,
	wheel: DeadlineWheel,
	shared: LoopMemory,
): TLSSocket {
	return new Dialling(options, events, reader, wheel, shared).socket;
}

class Dialling<V extends Verified, R extends Refused> {
	readonly socket: TLSSocket;
	readonly #options: TlsDialOptions<V, R>;
	readonly #events: TlsDialEvents<V, R>;
	readonly #deadline: Deadline;
	#state: "connecting" | "shaking" | "ready" | "failed" = "connecting";
	/** What the peer has shown, now or when the session that is resumed began. */
	#chain: readonly Uint8Array[] = [];

	constructor(options: TlsDialOptions<V, R>, events: TlsDialEvents<V, R>, reader: ByteReader, wheel: DeadlineWheel, shared: LoopMemory) {
		this.#options = options;
		this.#events = events;
		this.#deadline = wheel.deadline(() =>
			this.#fail(tlsFailure("tls_handshake_timeout", `the handshake was not done within ${options.handshakeTimeoutMs} ms`, "neither")),
		);
		const { address, serverName, alpn, contexts, sessions, lookup } = options;
		const { generation } = contexts;
		const session = sessions.get(generation);
		const stream = new TlsStream(shared);
		stream.readTo(reader);
		const connecting = {
			...(address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port }),
			...(lookup === undefined ? {} : { lookup }),
			...(serverName === "" || isIP(serverName) !== 0 ? {} : { servername: serverName }),
			...(alpn.length > 0 ? { ALPNProtocols: alpn } : {}),
			...(session === undefined ? {} : { session: session.state }),
			secureContext: contexts.current,
			// `verify` decides, not Node.
			rejectUnauthorized: false,
			checkServerIdentity: options.checkHostName
				? (_host: string, certificate: PeerCertificate) => checkServerIdentity(serverName, certificate)
				: accept,
			allowHalfOpen: true,
			noDelay: true,
			keepAlive: true,
			keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
			onread: stream.onread,
		};
		const socket = connect(connecting);
		this.socket = socket;
		stream.attach(socket);
		socket.on("connect", () => {
			this.#state = "shaking";
			this.#deadline.arm(options.handshakeTimeoutMs);
		});
		socket.on("session", (state: Buffer) => {
			if (this.#state === "ready") sessions.put({ state, chain: this.#chain }, generation);
		});
		socket.on("secureConnect", () => this.#onSecure(session?.chain));
		socket.on("error", (error) => {
			// Later, too: a server of TLS 1.3 refuses our certificate after it has let us begin. What it gave before is not to be tried again.
			sessions.clear();
			this.#fail(failureOf(error, "client"));
		});
		socket.on("close", () => this.#fail(tlsFailure("tls_handshake_reset", "the connection was closed before the handshake was done", "peer")));
	}

	#onSecure(remembered: readonly Uint8Array[] | undefined): void {
		if (this.#state !== "shaking") return;
		const { alpn, alpnRequired, verify } = this.#options;
		closeOnTlsErrors(this.socket);
		const shown = shownBy(this.socket, remembered);
		this.#chain = shown.chain;
		if (alpnRequired && alpn.length > 0 && shown.alpn === "") {
			this.#fail(tlsFailure("tls_alpn_mismatch", "the peer has agreed to none of the application protocols", "us"));
			return;
		}
		const verdict = verify(shown);
		if (!verdict.ok) {
			this.#fail(verdict);
			return;
		}
		this.#state = "ready";
		this.#deadline.disarm();
		this.#events.onReady(verdict, shown);
	}

	#fail(failure: TlsFailure | R): void {
		const was = this.#state;
		if (was === "ready" || was === "failed") return;
		this.#state = "failed";
		this.#deadline.disarm();
		this.#options.sessions.clear();
		if (was === "shaking") this.#events.onFailed(failure);
		this.socket.destroy();
	}
}

function accept(): undefined {
	return undefined;
}
