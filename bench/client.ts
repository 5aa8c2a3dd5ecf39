/** A kept-alive connection that asks for one thing at a time, for what a load generator is too coarse for: checks, idle connections, reloads. */
import { connect, type Socket } from "node:net";
import { type Reply, ResponseReader } from "./response-reader.ts";

// Far above any reply on an idle machine; a busy one must not turn a measurement into a failure.
const REPLY_TIMEOUT_MS = 10_000;

export interface Request {
	readonly method?: "GET" | "POST";
	readonly host: string;
	readonly path: string;
}

export class Connection {
	readonly socket: Socket;
	readonly #reader = new ResponseReader({ keepBody: true });
	#settle: { resolve: (reply: Reply) => void; reject: (cause: Error) => void } | undefined;

	private constructor(socket: Socket) {
		this.socket = socket;
		socket.setNoDelay(true);
		socket.on("data", (chunk) => this.#take(chunk));
		socket.on("timeout", () => this.#fail(new Error(`no reply within ${REPLY_TIMEOUT_MS} ms`)));
		socket.on("error", (cause) => this.#fail(cause));
		socket.on("close", () => this.#fail(new Error("the connection was closed before the reply was complete")));
	}

	/** Rejects when nobody listens on the port of loopback. */
	static open(port: number): Promise<Connection> {
		return new Promise((resolve, reject) => {
			const socket = connect({ host: "127.0.0.1", port });
			socket.once("error", reject);
			socket.once("connect", () => {
				socket.off("error", reject);
				resolve(new Connection(socket));
			});
		});
	}

	/** Rejects when the connection ends, stalls, or brings something that is not a reply with a length. */
	request({ method = "GET", host, path }: Request): Promise<Reply> {
		if (this.#settle !== undefined) throw new Error("one request at a time");
		return new Promise((resolve, reject) => {
			this.#settle = { resolve, reject };
			this.socket.setTimeout(REPLY_TIMEOUT_MS);
			const length = method === "POST" ? "content-length: 0\r\n" : "";
			this.socket.write(`${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${length}\r\n`);
		});
	}

	/** Ends it at once and without TIME_WAIT, so that thousands leave no trace for the next measurement. */
	close(): void {
		this.socket.resetAndDestroy();
	}

	#take(chunk: Buffer | string): void {
		const progress = this.#reader.push(chunk);
		if (progress.kind === "fault") this.#fail(new Error(progress.fault));
		if (progress.kind !== "reply") return;
		const settle = this.#settle;
		this.#settle = undefined;
		this.socket.setTimeout(0);
		if (settle === undefined) this.socket.destroy();
		else settle.resolve(progress.reply);
	}

	#fail(cause: Error): void {
		const settle = this.#settle;
		this.#settle = undefined;
		settle?.reject(cause);
		this.socket.destroy();
	}
}

/** One request on a connection of its own. */
export async function requestOnce(port: number, request: Request): Promise<Reply> {
	const connection = await Connection.open(port);
	try {
		return await connection.request(request);
	} finally {
		connection.close();
	}
}
