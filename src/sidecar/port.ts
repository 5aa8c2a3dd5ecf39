/** A listener together with the stack that its connections run: swapped on a reload, drained at the end. */
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import { Listener, type ListenerStats } from "../net/listener.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import { addressText } from "../policy/address-text.ts";
import type { Address } from "../policy/snapshot.ts";
import { ClientConnection } from "./exchange/client-connection.ts";
import { ClientContext } from "./exchange/client-context.ts";
import type { Downstream, ExchangeDeps } from "./exchange/downstream.ts";
import { localAnswer } from "./exchange/local-answer.ts";
import type { Stack } from "./exchange/stack.ts";

/** What all ports of one event loop share. */
export interface PortDeps extends ExchangeDeps {
	readonly shared: LoopMemory;
	readonly log: Logger;
}

export class Port {
	readonly #listener: Listener;
	readonly #context: ClientContext;
	readonly #connections = new Set<ClientConnection>();
	readonly #clock: Clock;
	readonly #listen: Address & { kind: "tcp" };
	#drained: (() => void) | undefined;

	constructor(name: string, listen: Address & { kind: "tcp" }, stack: Stack, deps: PortDeps) {
		this.#clock = deps.clock;
		this.#listen = listen;
		this.#context = new ClientContext({
			...deps,
			stack,
			onClosed: (connection) => this.#onClosed(connection),
		});
		this.#listener = new Listener({
			name,
			listen,
			connectionsMax: stack.limits.connectionsMax,
			onConnection: (socket) => void this.#connections.add(new ClientConnection(socket, this.#context)),
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

	/** Rejects with an Error that names the address. */
	start(): Promise<void> {
		return this.#listener.start();
	}

	/** For the next request of every connection; what is in flight finishes on the stack that it began with. */
	setStack(stack: Stack): void {
		this.#context.stack = stack;
		this.#listener.setConnectionsMax(stack.limits.connectionsMax);
	}

	/** Accepts no more, closes idle connections, lets running answers end with `connection: close`. */
	drain(): void {
		this.#listener.stop();
		this.#context.draining = true;
		for (const connection of [...this.#connections]) connection.drain();
	}

	/** Drains, waits at most `timeoutMs` for the last connection, cuts what is left then. Resolves with how many exchanges were cut. */
	async close(timeoutMs: number): Promise<number> {
		this.drain();
		if (this.#connections.size > 0) {
			await new Promise<void>((resolve) => {
				const timer = this.#clock.setTimer(timeoutMs, resolve);
				this.#drained = () => {
					timer.cancel();
					resolve();
				};
			});
		}
		const cut = this.inFlight;
		for (const connection of [...this.#connections]) connection.destroy();
		return cut;
	}

	#onClosed(connection: Downstream): void {
		this.#connections.delete(connection as ClientConnection);
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
