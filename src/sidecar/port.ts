/** A listener together with the stack that its connections run: swapped on a reload, drained at the end. */
import type { Socket } from "node:net";
import type { Logger } from "../core/log.ts";
import type { VerifiedPeer } from "../identity/verify-chain.ts";
import { Listener, type ListenerStats } from "../net/listener.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import { PlainStream } from "../net/plain-stream.ts";
import type { ReadyStream } from "../net/ready-stream.ts";
import { tlsFailure } from "../net/tls-cause.ts";
import type { Handshakes } from "../net/tls-handshakes.ts";
import { addressText } from "../policy/address-text.ts";
import type { Address } from "../policy/snapshot.ts";
import { ClientConnection } from "./exchange/client-connection.ts";
import { ClientContext } from "./exchange/client-context.ts";
import type { ExchangeDeps } from "./exchange/downstream.ts";
import { localAnswer } from "./exchange/local-answer.ts";
import type { Stack } from "./exchange/stack.ts";
import type { TlsObserver, TlsPlace } from "./identity/tls-observer.ts";
import type { Acceptor, AcceptorMaker } from "./tls/port-acceptor.ts";

/** What all ports of one event loop share. */
export interface PortDeps extends ExchangeDeps {
	readonly shared: LoopMemory;
	readonly log: Logger;
	readonly handshakes: Handshakes;
	readonly tlsObserver: TlsObserver;
}

export class Port {
	readonly #listener: Listener;
	readonly #context: ClientContext;
	readonly #connections = new Set<ClientConnection>();
	readonly #deps: PortDeps;
	readonly #listen: Address & { kind: "tcp" };
	/** Undefined: plain text alone. */
	#tls: AcceptorMaker["tls"] | undefined;
	#acceptor: Acceptor | undefined;
	/** Also of connections that began before TLS was turned off: a sidecar has one for its life. */
	#identity: AcceptorMaker["tls"]["identity"] | undefined;
	#drained: (() => void) | undefined;

	constructor(name: string, listen: Address & { kind: "tcp" }, stack: Stack, deps: PortDeps) {
		this.#deps = deps;
		this.#listen = listen;
		this.#context = new ClientContext({
			...deps,
			stack,
			port: () => this.port,
			onClosed: (connection) => this.#onClosed(connection as ClientConnection),
			onTlsOnPlaintext: (address) =>
				deps.tlsObserver.onFailed(
					this.#place(address),
					tlsFailure("tls_on_plaintext_port", "the caller speaks TLS to a port that takes plain text", "us"),
				),
		});
		this.#listener = new Listener({
			name,
			listen,
			connectionsMax: stack.limits.connectionsMax,
			onConnection: (socket) => {
				if (this.#tls === undefined || this.#acceptor === undefined) this.#begin(new PlainStream(socket, deps.shared));
				else this.#acceptor.accept(socket);
			},
			onRefused: (socket) => this.#refuse(socket),
			onFault: (message) => deps.log.error("listener", { listener: name, error: message }),
		});
	}

	get name(): string {
		return this.#listener.name;
	}

	/** The port that is bound; differs from the policy's where that says 0. */
	get port(): number {
		return this.#listener.port;
	}

	/** `host:port` as bound. */
	get address(): string {
		return addressText({ ...this.#listen, port: this.port });
	}

	get stats(): ListenerStats {
		return this.#listener.stats;
	}

	/** Exchanges that have begun and not ended. */
	get inFlight(): number {
		let count = 0;
		for (const connection of this.#connections) if (connection.active) count++;
		return count;
	}

	get plaintextOpen(): number {
		let count = 0;
		for (const { peer } of this.#connections) if (peer === undefined) count++;
		return count;
	}

	/** Rejects with an Error that names the address. */
	start(): Promise<void> {
		return this.#listener.start();
	}

	/** For the next request of every connection; what is in flight finishes on the stack that it began with, unless it never ends by itself. */
	setStack(stack: Stack): void {
		this.#context.stack = stack;
		this.#listener.setConnectionsMax(stack.limits.connectionsMax);
		for (const connection of this.#connections) connection.reconsider();
	}

	/**
	 * For the next connection, and those that have said nothing yet; of those that are open, plain text ends where only TLS is taken now.
	 * Undefined: plain text alone.
	 */
	setTls(maker: AcceptorMaker | undefined): void {
		const tls = maker?.tls;
		this.#tls = tls;
		this.#identity ??= tls?.identity;
		if (this.#acceptor === undefined) {
			this.#acceptor = maker?.make(this.#deps, {
				place: (address) => this.#place(address),
				onReady: (stream) => this.#begin(stream),
				onGone: () => this.#listener.release(),
			});
		} else {
			// One for the life of the port: of a second one, whoever waits in the first would not hear that it has become strict.
			this.#acceptor.mode = tls?.mode ?? "permissive";
			if (tls !== undefined) this.#acceptor.contexts = tls.identity.server(tls.minVersion);
		}
		if (tls?.mode !== "strict") return;
		for (const connection of [...this.#connections]) if (connection.peer === undefined) connection.refuseFromNowOn("tls_plaintext_on_tls_port");
	}

	/** Accepts no more, closes idle connections, lets running answers end with `connection: close`. */
	drain(): void {
		this.#listener.stop();
		this.#context.draining = true;
		this.#acceptor?.destroy();
		for (const connection of [...this.#connections]) connection.drain();
	}

	/** Drains, waits at most `timeoutMs` for the last connection, cuts what is left then. Resolves with how many exchanges were cut. */
	async close(timeoutMs: number): Promise<number> {
		this.drain();
		if (this.#connections.size > 0) {
			await new Promise<void>((resolve) => {
				const timer = this.#deps.clock.setTimer(timeoutMs, resolve);
				this.#drained = () => {
					timer.cancel();
					resolve();
				};
			});
		}
		const cut = this.inFlight;
		for (const connection of [...this.#connections]) connection.cut();
		return cut;
	}

	#begin(stream: ReadyStream<VerifiedPeer>): void {
		const connection = new ClientConnection(stream, this.#context);
		this.#connections.add(connection);
		this.#identity?.watchCaller(connection);
	}

	#place(address: string): TlsPlace {
		return { direction: this.#context.stack.direction, name: this.name, address };
	}

	#onClosed(connection: ClientConnection): void {
		this.#connections.delete(connection);
		this.#identity?.unwatch(connection);
		this.#listener.release();
		if (this.#connections.size === 0) this.#drained?.();
	}

	/** Says why, and closes. It holds no slot: the socket is written to once and gone. */
	#refuse(socket: Socket): void {
		const { stack } = this.#context;
		stack.refused.countReason("connection_limit");
		socket.on("error", () => {});
		socket.end(
			localAnswer({ reason: "connection_limit", detail: "", requestId: "", close: true, headRequest: false, minorVersion: 1 }),
			"latin1",
			() => socket.destroy(),
		);
	}
}
