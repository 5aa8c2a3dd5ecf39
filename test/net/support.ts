/** Sockets of our own on one side, peers written by hand on the other. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import type { ByteReader } from "../../src/net/byte-socket.ts";
import { Listener, type ListenerOptions } from "../../src/net/listener.ts";

/** Closed at the end of the test. Faults after the start fail it. */
export async function startListener(t: TestContext, options: Partial<ListenerOptions> & Pick<ListenerOptions, "onConnection">): Promise<Listener> {
	const listener = new Listener({
		name: "tested",
		listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
		connectionsMax: 1000,
		onFault: (message) => assert.fail(message),
		...options,
	});
	t.after(() => listener.stop());
	await listener.start();
	return listener;
}

/** Sockets as a listener accepts them, in order of arrival. */
export class Accepted {
	readonly #arrived: Socket[] = [];
	readonly #waiting: ((socket: Socket) => void)[] = [];

	push(t: TestContext, socket: Socket): void {
		t.after(() => void socket.destroy());
		const waiting = this.#waiting.shift();
		if (waiting === undefined) this.#arrived.push(socket);
		else waiting(socket);
	}

	next(): Promise<Socket> {
		const arrived = this.#arrived.shift();
		return arrived === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(arrived);
	}
}

/** Copies what it is handed, at the moment it is handed it. */
export class Collector implements ByteReader {
	readonly buffers = new Set<Buffer>();
	readonly #parts: Buffer[] = [];
	readonly #watchers = new Set<() => void>();

	get text(): string {
		return Buffer.concat(this.#parts).toString("latin1");
	}

	onBytes(buffer: Buffer, from: number, to: number): void {
		this.buffers.add(buffer);
		this.#parts.push(Buffer.from(buffer.subarray(from, to)));
		for (const look of this.#watchers) look();
	}

	async untilText(text: string): Promise<void> {
		await new Promise<void>((resolve) => {
			const look = (): void => {
				if (!this.text.includes(text)) return;
				this.#watchers.delete(look);
				resolve();
			};
			this.#watchers.add(look);
			look();
		});
	}
}

export function event(socket: Socket, name: "close" | "end" | "connect" | "error"): Promise<unknown> {
	return new Promise((resolve) => socket.once(name, resolve));
}

/** Resolves once `holds` does; it is looked at in every turn of the event loop. The test's time limit ends a hang. */
export async function until(holds: () => boolean): Promise<void> {
	while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}
