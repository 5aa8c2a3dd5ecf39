/** One connection on its way from the listener to a stream whose peer is known: a state machine. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import { adopt, type ByteReader } from "./byte-socket.ts";
import type { LoopMemory } from "./loop-memory.ts";
import { HANDSHAKE_RECORD, type ReadyStream } from "./ready-stream.ts";
import type { SecureContexts } from "./secure-contexts.ts";
import { failureOf, type TlsFailure, tlsFailure } from "./tls-cause.ts";
import type { Handshake, Handshakes } from "./tls-handshakes.ts";
import { closeOnTlsErrors, type Refused, type ShownPeer, shownBy, type Verified } from "./tls-peer.ts";
import { overAccepted, TlsStream } from "./tls-stream.ts";

/** Who was refused may read the close in peace: what it had sent already would otherwise answer with a reset. */
const LINGER_MS = 1000;

export type TlsMode = "strict" | "permissive";

export interface FailedPeer {
	readonly remoteAddress: string;
	readonly serverName: string;
}

export interface TlsAcceptOptions<V extends Verified, R extends Refused> {
	/** At first. */
	readonly contexts: SecureContexts;
	readonly clientCertificate: "required" | "requested" | "none";
	/** Best first; empty: none is spoken of. */
	readonly alpn: readonly string[];
	/** Covers the wait for a place, too. */
	readonly handshakeTimeoutMs: number;
	/** Where plain text is taken: how long a connection may be silent before it has said what it speaks. Else it is the handshake's limit. */
	readonly firstByteTimeoutMs: number;
	/** In mode `strict`, what those are told in plain text who speak it, so that they see what they have met. */
	readonly answerToPlaintext: string;
	/** What a peer is told over TLS that `verify` has refused, for lack of an alert: Node cannot send one of ours. "" says nothing. */
	readonly answerToRefused: (refusal: R) => string;
	/** Runs inside the handshake: at once, and without closing anything. On a resumed session it checks again what may have changed. */
	readonly verify: (shown: ShownPeer) => V | R;
	/** It reads already: name the reader at once. */
	readonly onReady: (stream: ReadyStream<V>, resumed: boolean) => void;
	/** Instead of `onReady`, once; the connection closes by itself. */
	readonly onFailed: (failure: TlsFailure | R, peer: FailedPeer) => void;
	/** A connection that never became ready is closed; once for each. */
	readonly onGone: () => void;
}

/** The acceptor's side. */
export interface ArrivalOwner<V extends Verified, R extends Refused> {
	readonly mode: TlsMode;
	readonly contexts: SecureContexts;
	readonly options: TlsAcceptOptions<V, R>;
	/** Of the options, as it goes over the wire. */
	readonly alpn: Buffer;
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly handshakes: Handshakes;
	ready(arrival: Arrival<V, R>, stream: ReadyStream<V>, resumed: boolean): void;
	failed(failure: TlsFailure | R, peer: FailedPeer): void;
	/** Idempotent. */
	gone(arrival: Arrival<V, R>): void;
}

/**
 * sniffing: its first byte is awaited · waiting: for its turn to shake hands · shaking · refused: told so, its close is awaited · over: ready,
 * or gone
 */
type State = "sniffing" | "waiting" | "shaking" | "refused" | "over";

export class Arrival<V extends Verified, R extends Refused> implements ByteReader, Handshake {
	readonly #acceptor: ArrivalOwner<V, R>;
	readonly #deadline: Deadline;
	/** Asked for at once: a socket that has closed does not know it any more. */
	readonly #remoteAddress: string;
	#state: State = "sniffing";
	/** What carries the bytes at present: as accepted, adopted, or over TLS. */
	#socket: Socket;
	#stream: TlsStream | undefined;
	/** Read before it was known that this is TLS. */
	#early: Buffer | undefined;
	/** Once this is known to be plain text. */
	#reader: ByteReader | undefined;

	constructor(accepted: Socket, acceptor: ArrivalOwner<V, R>) {
		this.#acceptor = acceptor;
		this.#socket = accepted;
		this.#remoteAddress = accepted.remoteAddress ?? "";
		this.#deadline = acceptor.wheel.deadline(() => this.#onDeadline());
	}

	/** Looks at the first byte without taking it from whom it is for. */
	sniff(): void {
		const { mode, options } = this.#acceptor;
		this.#deadline.arm(mode === "strict" ? options.handshakeTimeoutMs : options.firstByteTimeoutMs);
		const socket = adopt(this.#socket, this.#acceptor.shared, this);
		this.#socket = socket;
		socket.on("error", ignore); // a reset; `close` follows
		socket.on("end", () => {
			if (this.#state === "sniffing") this.#end();
		});
		socket.on("close", () => {
			if (socket === this.#socket) this.#gone();
		});
		socket.resume();
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		if (this.#reader !== undefined) this.#reader.onBytes(buffer, from, to);
		else if (this.#state === "sniffing") this.#tell(buffer, from, to);
		// Read behind the first read by a socket that does not stop at once; where it is refused, nobody listens any more.
		else if (this.#early !== undefined) this.#early = Buffer.concat([this.#early, buffer.subarray(from, to)]);
	}

	#tell(buffer: Buffer, from: number, to: number): void {
		if (buffer[from] !== HANDSHAKE_RECORD) this.#plaintext(buffer, from, to);
		else {
			this.#socket.pause();
			this.#early = Buffer.from(buffer.subarray(from, to));
			this.#shake();
		}
	}

	#plaintext(buffer: Buffer, from: number, to: number): void {
		const { mode, options } = this.#acceptor;
		if (mode === "strict") {
			this.#fail(tlsFailure("tls_plaintext_on_tls_port", "what came first is not TLS", "us"));
			this.#socket.write(options.answerToPlaintext, "latin1");
			this.#closeInPeace();
			return;
		}
		this.#over();
		const readTo = (reader: ByteReader): void => {
			this.#reader = reader;
			reader.onBytes(buffer, from, to);
		};
		this.#acceptor.ready(this, { socket: this.#socket, peer: undefined, readTo }, false);
	}

	// --- TLS

	#shake(): void {
		this.#state = "waiting";
		this.#deadline.arm(this.#acceptor.options.handshakeTimeoutMs);
		this.#acceptor.handshakes.enter(this);
	}

	begin(): void {
		if (this.#socket.destroyed) {
			this.#gone();
			return;
		}
		const { options, contexts, alpn, shared } = this.#acceptor;
		const stream = new TlsStream(shared);
		const socket = overAccepted(this.#socket, stream, this.#early, {
			isServer: true,
			secureContext: contexts.current,
			requestCert: options.clientCertificate !== "none",
			// OpenSSL then refuses whoever shows none, with the alert that says so. It refuses nobody else: chains are for `verify`.
			rejectUnauthorized: options.clientCertificate === "required",
			...(alpn.length > 0 ? { ALPNProtocols: alpn } : {}),
		});
		this.#early = undefined;
		this.#state = "shaking";
		this.#socket = socket;
		this.#stream = stream;
		socket.on("error", (error) => this.#fail(failureOf(error, "server"))); // `close` follows
		socket.on("end", () => {
			if (this.#state === "shaking") this.#end();
		});
		socket.on("close", () => this.#gone());
		socket.on("secure", () => this.#onSecure(socket));
	}

	giveUp(): void {
		this.#fail(tlsFailure("tls_handshake_overflow", "too many handshakes at once", "us"));
		this.#end();
	}

	#onSecure(socket: TLSSocket): void {
		if (this.#state !== "shaking") return;
		const { options, handshakes } = this.#acceptor;
		handshakes.leave(this);
		closeOnTlsErrors(socket);
		const shown = shownBy(socket);
		const verdict = shown.chain.length === 0 && options.clientCertificate === "required" ? undefined : options.verify(shown);
		if (verdict?.ok === true) {
			const stream = this.#stream as TlsStream;
			this.#over();
			this.#acceptor.ready(this, { socket, peer: verdict, readTo: (reader) => stream.readTo(reader) }, shown.resumed);
			return;
		}
		const failure = verdict ?? tlsFailure("tls_no_client_cert", "the session that is resumed knows no certificate of the caller", "us");
		this.#fail(failure);
		const answer = verdict === undefined ? "" : options.answerToRefused(verdict);
		// We are on OpenSSL's stack here.
		setImmediate(() => {
			if (answer !== "") socket.write(answer, "latin1");
			this.#closeInPeace();
		});
	}

	// --- the ways out

	#fail(failure: TlsFailure | R): void {
		if (this.#state === "refused" || this.#state === "over") return;
		this.#state = "refused";
		this.#acceptor.handshakes.leave(this);
		const { servername } = this.#socket as Partial<TLSSocket>;
		this.#acceptor.failed(failure, { remoteAddress: this.#remoteAddress, serverName: servername || "" });
	}

	/** Ends it in order, and drops what it still sends: a reset would eat what it is to read. */
	#closeInPeace(): void {
		this.#stream?.readTo({ onBytes: ignore });
		this.#deadline.arm(LINGER_MS);
		this.#socket.end();
	}

	#onDeadline(): void {
		if (this.#state === "waiting" || this.#state === "shaking") {
			this.#fail(tlsFailure("tls_handshake_timeout", `the handshake was not done within ${this.#acceptor.options.handshakeTimeoutMs} ms`, "neither"));
		}
		this.#end();
	}

	/** Nothing more of it. */
	#end(): void {
		this.#gone();
		this.#socket.destroy();
	}

	/** Closed, or as good as that. A close in the middle of a handshake is the peer's. */
	#gone(): void {
		if (this.#state === "over") return;
		if (this.#state === "waiting" || this.#state === "shaking") {
			this.#fail(tlsFailure("tls_handshake_reset", "the caller closed the connection before the handshake was done", "peer"));
		}
		this.#over();
		this.#acceptor.gone(this);
	}

	/** Idempotent. Drops a connection that is not ready yet. */
	destroy(): void {
		this.#acceptor.handshakes.leave(this);
		this.#over();
		this.#acceptor.gone(this);
		this.#socket.destroy();
	}

	#over(): void {
		this.#state = "over";
		this.#deadline.disarm();
	}
}

function ignore(): void {}
