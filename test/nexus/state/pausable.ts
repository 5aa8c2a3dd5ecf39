/** A way to a server on which nothing moves for a while: as a server that hangs, or a network that swallows all. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

export interface Pausable {
	readonly address: string;
	pause(): void;
	/** What was sent meanwhile arrives. */
	resume(): void;
}

/** `server`: host:port. Ends with the test. */
export async function pausable(t: TestContext, server: string): Promise<Pausable> {
	const [host, port] = server.split(":");

	const sockets = new Set<Socket>();
	let isPaused = false;
	const proxy = createServer((near) => {
		// What comes while it is paused waits as well.
		const far = connect(Number(port), host);
		for (const [socket, other] of [
			[near, far],
			[far, near],
		] as const) {
			sockets.add(socket);
			if (isPaused) socket.pause();
			socket.on("data", (chunk) => void other.write(chunk));
			socket.on("close", () => other.destroy());
			socket.on("error", () => {});
		}
	});
	await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		for (const socket of sockets) socket.destroy();
		proxy.close();
	});
	return {
		address: `127.0.0.1:${(proxy.address() as AddressInfo).port}`,
		pause() {
			isPaused = true;
			for (const socket of sockets) socket.pause();
		},
		resume() {
			isPaused = false;
			for (const socket of sockets) socket.resume();
		},
	};
}
