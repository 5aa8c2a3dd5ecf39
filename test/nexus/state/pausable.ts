/** Ways to a server on which nothing moves for a while, or not all of it: as a server that hangs, or a network that swallows what it likes. */
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

/** A way to a server of NATS on which, from `withhold` on, everything passes but what consumers of streams are sent; `cut` ends that, and the connections. */
export async function withholding(t: TestContext, server: string): Promise<{ readonly address: string; withhold(): void; cut(): void }> {
	const [host, port] = server.split(":");
	const sockets = new Set<Socket>();
	let isWithholding = false;
	const proxy = createServer((near) => {
		const far = connect(Number(port), host);
		near.on("data", (chunk) => void far.write(chunk));
		let text = "";
		far.on("data", (chunk) => {
			text += chunk.toString("latin1");
			for (let end = frameEnd(text); end > 0; end = frameEnd(text)) {
				const frame = text.slice(0, end);
				text = text.slice(end);
				if (!isWithholding || !/^H?MSG \S+ \S+ \$JS\.ACK\./.test(frame)) near.write(frame, "latin1");
			}
		});
		for (const [socket, other] of [
			[near, far],
			[far, near],
		] as const) {
			sockets.add(socket);
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
		withhold() {
			isWithholding = true;
		},
		cut() {
			isWithholding = false;
			for (const socket of sockets) socket.destroy();
			sockets.clear();
		},
	};
}

/** 0: there is no whole frame yet. A message names the bytes that follow its line. */
function frameEnd(text: string): number {
	const line = text.indexOf("\r\n");
	if (line < 0) return 0;
	const bytes = /^H?MSG .* (\d+)$/.exec(text.slice(0, line))?.[1];
	const end = line + 2 + (bytes === undefined ? 0 : Number(bytes) + 2);
	return end <= text.length ? end : 0;
}
