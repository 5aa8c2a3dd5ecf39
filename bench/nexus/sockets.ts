/** Raw sockets of the load: what is sent within one turn of the loop leaves in one write. */
import { connect, type Socket } from "node:net";

export interface Connection {
	send(bytes: Buffer): void;
	close(): void;
}

/** Rejects where nobody listens. */
export function dial(port: number): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = connect({ host: "127.0.0.1", port, noDelay: true });
		socket.once("error", reject);
		socket.once("connect", () => resolve(socket.off("error", reject)));
	});
}

/** `failed` is told of errors, and of an end that we did not ask for. */
export function gathered(socket: Socket, failed: (cause: Error) => void): Connection {
	let isOver = false;
	let waiting: Buffer[] = [];
	socket.on("error", (cause) => {
		if (!isOver) failed(cause);
	});
	socket.on("close", () => {
		if (!isOver) failed(new Error("the connection was closed"));
	});
	return {
		send(bytes) {
			if (waiting.push(bytes) > 1) return;
			setImmediate(() => {
				socket.write(Buffer.concat(waiting));
				waiting = [];
			});
		},
		close() {
			isOver = true;
			socket.resetAndDestroy();
		},
	};
}

/** Calls with each line, without its end. */
export function onLines(socket: Socket, take: (line: string) => void): void {
	let rest = "";
	socket.on("data", (chunk: Buffer) => {
		const lines = (rest + chunk.toString("latin1")).split("\r\n");
		rest = lines.pop() ?? "";
		for (const line of lines) take(line);
	});
}
