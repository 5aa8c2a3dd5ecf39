/** Accepts connections within a limit, and knows all that are open so that a drain can reach them. */
import { createServer, type Server, type Socket } from "node:net";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Address } from "../policy/snapshot.ts";

const KEEP_ALIVE_DELAY_MS = 60_000;
// The kernel's queue of connections that nobody has accepted yet; it caps this by its own setting (4,096 on Linux).
const BACKLOG = 4096;

export interface ListenerStats {
	readonly accepted: number;
	readonly refused: number;
	readonly open: number;
}

export interface ListenerOptions {
	readonly name: string;
	readonly listen: Address & { kind: "tcp" };
	connectionsMax: number;
	/** Gets a paused socket; must call `release` of the listener when the connection is closed. */
	readonly onConnection: (socket: Socket) => void;
	/** Over the limit; the default is to close without a word. */
	readonly onRefused?: (socket: Socket) => void;
	/** Faults after the start (out of file descriptors): told, never fatal. */
	readonly onFault: (message: string) => void;
}

export class Listener {
	readonly #options: ListenerOptions;
	readonly #server: Server;
	#open = 0;
	#accepted = 0;
	#refused = 0;

	constructor(options: ListenerOptions) {
		this.#options = options;
		this.#server = createServer(
			{ pauseOnConnect: true, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS },
			(socket) => this.#accept(socket),
		);
	}

	get name(): string {
		return this.#options.name;
	}

	get stats(): ListenerStats {
		return { accepted: this.#accepted, refused: this.#refused, open: this.#open };
	}

	/** Port in use, the one asked for or the one that the system chose for port 0. */
	get port(): number {
		const address = this.#server.address();
		return typeof address === "object" && address !== null ? address.port : 0;
	}

	setConnectionsMax(max: number): void {
		this.#options.connectionsMax = max;
	}

	/** Resolves once the port is bound; rejects with an Error that names listener, address and cause. */
	async start(): Promise<void> {
		const { listen, name } = this.#options;
		await new Promise<void>((resolve, reject) => {
			this.#server.once("error", (cause) =>
				reject(new Error(`${name} cannot listen on ${listen.host}:${listen.port}: ${explain(cause)}`, { cause })),
			);
			this.#server.listen({ host: listen.host, port: listen.port, backlog: BACKLOG }, resolve);
		});
		this.#server.removeAllListeners("error");
		this.#server.on("error", (cause) => this.#options.onFault(messageOf(cause)));
	}

	/** Stops accepting; connections that are open stay. Idempotent. */
	stop(): void {
		this.#server.close();
	}

	/** A connection that was handed out is closed. */
	release(): void {
		this.#open--;
	}

	#accept(socket: Socket): void {
		if (this.#open >= this.#options.connectionsMax) {
			this.#refused++;
			if (this.#options.onRefused === undefined) socket.destroy();
			else this.#options.onRefused(socket);
			return;
		}
		this.#open++;
		this.#accepted++;
		this.#options.onConnection(socket);
	}
}

function explain(cause: unknown): string {
	if (codeOf(cause) === "EADDRINUSE") return "the port is taken by another process (EADDRINUSE)";
	if (codeOf(cause) === "EACCES") return "this user may not bind the port (EACCES)";
	return messageOf(cause);
}
