/** One end of a TCP connection that sends exactly what a test says and remembers exactly what came. */
import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { readRequests, readResponses, type StrictMessage, type StrictReading } from "./strict-reader.ts";

/** Nothing is decided by it: it only turns a hang into a failure that says what was waited for. */
const PATIENCE_MS = 20_000;

export class RawPeer {
	readonly socket: Socket;
	/** The other side has sent its FIN. */
	ended = false;
	/** Nothing more can come, in good order or by a reset. */
	closed = false;
	/** `ECONNRESET` and such, or "". */
	error = "";
	/** Bytes so far, whether kept or not. */
	bytes = 0;
	/** Whether what comes is kept in `received`; switch off for large streams. */
	keep = true;
	readonly #parts: Buffer[] = [];
	/** What no complete message has been read from yet, so that a long stream is not read from its start again and again. */
	#unread: Buffer[] = [];
	readonly #watchers = new Set<() => void>();

	constructor(socket: Socket) {
		this.socket = socket;
		socket.setNoDelay(true);
		socket.on("data", (bytes: Buffer) => {
			this.bytes += bytes.length;
			if (this.keep) {
				this.#parts.push(bytes);
				this.#unread.push(bytes);
			}
			this.#notify();
		});
		socket.on("end", () => {
			this.ended = true;
			this.#notify();
		});
		socket.on("error", (error: NodeJS.ErrnoException) => {
			this.error = error.code ?? error.message;
		});
		socket.on("close", () => {
			this.closed = true;
			this.#notify();
		});
	}

	get received(): Buffer {
		if (this.#parts.length > 1) this.#parts.splice(0, this.#parts.length, Buffer.concat(this.#parts));
		return this.#parts[0] ?? Buffer.alloc(0);
	}

	/** Takes the messages that `read` finds in what is unread. */
	protected takeMessages(read: (bytes: Buffer) => StrictReading): readonly StrictMessage[] {
		const bytes = Buffer.concat(this.#unread);
		const reading = read(bytes);
		assert.notEqual(reading.ending, "fault", `${reading.fault} in ${JSON.stringify(bytes.toString("latin1", reading.consumed).slice(0, 600))}`);
		this.#unread = [bytes.subarray(reading.consumed)];
		return reading.messages;
	}

	get text(): string {
		return this.received.toString("latin1");
	}

	/** Latin1 text, or bytes. */
	send(bytes: string | Buffer): this {
		if (typeof bytes === "string") this.socket.write(bytes, "latin1");
		else this.socket.write(bytes);
		return this;
	}

	/** Sends FIN; still reads. */
	end(): void {
		this.socket.end();
	}

	/** Sends RST. */
	reset(): void {
		this.socket.resetAndDestroy();
	}

	/** Resolves once `holds`; looked at whenever something happens on this connection. */
	async until(what: string, holds: () => boolean): Promise<void> {
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const look = (): void => {
			if (holds()) resolve();
		};
		const timer = setTimeout(
			() => reject(new assert.AssertionError({ message: `${what}: not within ${PATIENCE_MS} ms; ${this.#told()}` })),
			PATIENCE_MS,
		);
		this.#watchers.add(look);
		look();
		try {
			await promise;
		} finally {
			clearTimeout(timer);
			this.#watchers.delete(look);
		}
	}

	/** The other side has closed, one way or the other. */
	untilClosed(): Promise<void> {
		return this.until("the connection is closed", () => this.ended || this.closed);
	}

	untilText(pattern: RegExp | string): Promise<void> {
		return this.until(`${pattern}`, () => (typeof pattern === "string" ? this.text.includes(pattern) : pattern.test(this.text)));
	}

	#notify(): void {
		for (const watcher of this.#watchers) watcher();
	}

	#told(): string {
		return `${this.bytes} bytes came, ended ${this.ended}, closed ${this.closed} ${this.error}: ${JSON.stringify(this.text.slice(-400))}`;
	}
}

/** A client that writes bytes by hand. */
export class RawClient extends RawPeer {
	/** Methods of what was sent, as far as a test told: HEAD has no body. */
	readonly methods: string[] = [];
	readonly #messages: StrictMessage[] = [];

	/** Final answers so far, by a strict reader; throws where what came is not HTTP/1.1. */
	get answers(): readonly StrictMessage[] {
		return this.messages.filter((message) => message.status >= 200);
	}

	/** Interim answers too. */
	get messages(): readonly StrictMessage[] {
		const finals = this.#messages.filter((message) => message.status >= 200).length;
		this.#messages.push(...this.takeMessages((bytes) => readResponses(bytes, this.methods.slice(finals), this.ended)));
		return this.#messages;
	}

	/** The first, second ... final answer, once it is complete. */
	async answer(index = 0): Promise<StrictMessage> {
		await this.until(`answer ${index} or the end`, () => this.answers.length > index || this.ended || this.closed);
		const answer = this.answers[index];
		assert.ok(answer !== undefined, `answer ${index} did not come: ${JSON.stringify(this.text.slice(-400))} ${this.error}`);
		return answer;
	}
}

/** Closed at the end of the test. `readBytes`: the reading pace of a slow client; it stands still until `socket.resume()`. */
export async function rawClient(t: TestContext, port: number, options: { paused?: boolean; host?: string } = {}): Promise<RawClient> {
	const socket = connect({ port, host: options.host ?? "127.0.0.1", allowHalfOpen: true });
	t.after(() => void socket.destroy());
	const client = new RawClient(socket);
	if (options.paused === true) socket.pause();
	await new Promise<void>((resolve, reject) => {
		socket.once("connect", resolve);
		socket.once("error", reject);
	});
	return client;
}

/** A server's side of one connection. */
export class RawUpstreamConnection extends RawPeer {
	/** Set it with the 101: what comes from then on is not HTTP. */
	tunnel = false;
	readonly #requests: StrictMessage[] = [];

	/** Complete requests so far, by a strict reader; throws where what came is not HTTP/1.1 as a proxy may write it. */
	get requests(): readonly StrictMessage[] {
		if (!this.tunnel) this.#requests.push(...this.takeMessages((bytes) => readRequests(bytes)));
		return this.#requests;
	}

	async request(index = 0): Promise<StrictMessage> {
		await this.until(`request ${index}`, () => this.requests.length > index);
		return this.requests[index] as StrictMessage;
	}
}

/** What to do with the next complete request of a connection: an answer as latin1 text, or nothing. */
export type Answerer = (request: StrictMessage, connection: RawUpstreamConnection, index: number) => string | undefined;

export interface RawUpstream {
	readonly port: number;
	readonly address: string;
	/** In the order of their arrival. */
	readonly connections: RawUpstreamConnection[];
	/** All complete requests of all connections. */
	readonly requests: readonly StrictMessage[];
	/** The n-th connection, once it is there. */
	connection(index: number): Promise<RawUpstreamConnection>;
	close(): Promise<void>;
}

/**
 * A server that answers by hand. With `answer`, each complete request gets that; without, the test speaks through `connections`.
 * What it received is checked when the test ends: whatever a client sent, only well-formed requests may arrive here.
 */
export async function rawUpstream(t: TestContext, answer?: Answerer): Promise<RawUpstream> {
	const connections: RawUpstreamConnection[] = [];
	const waiting: (() => void)[] = [];
	const server = createServer({ allowHalfOpen: true }, (socket) => {
		const connection = new RawUpstreamConnection(socket);
		connections.push(connection);
		// Registered now, so that it runs behind the hooks which stop whatever has connected: a failed check must leave nothing running.
		if (connections.length === 1) t.after(check);
		for (const look of waiting) look();
		if (answer === undefined) return;
		let answered = 0;
		socket.on("data", () => {
			const { requests } = connection;
			while (answered < requests.length && !socket.destroyed) {
				const text = answer(requests[answered] as StrictMessage, connection, answered);
				answered++;
				if (text !== undefined) connection.send(text);
			}
		});
		// A peer that has closed is answered with a close, unless the test speaks for itself.
		socket.on("end", () => socket.end());
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const close = async (): Promise<void> => {
		for (const { socket } of connections) socket.destroy();
		if (server.listening) await new Promise((resolve) => server.close(resolve));
	};
	const check = (): void => {
		for (const connection of connections) if (connection.keep) void connection.requests;
	};
	t.after(close);
	const { port } = server.address() as AddressInfo;
	return {
		port,
		address: `127.0.0.1:${port}`,
		connections,
		get requests() {
			return connections.flatMap((connection) => connection.requests);
		},
		async connection(index) {
			const { promise, resolve, reject } = Promise.withResolvers<RawUpstreamConnection>();
			const look = (): void => {
				const connection = connections[index];
				if (connection !== undefined) resolve(connection);
			};
			const timer = setTimeout(() => reject(new assert.AssertionError({ message: `connection ${index} did not come` })), PATIENCE_MS);
			waiting.push(look);
			look();
			return promise.finally(() => clearTimeout(timer));
		},
		close,
	};
}

/** A plain answer with a body. */
export function ok(body = "ok", fields = ""): string {
	return `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}
