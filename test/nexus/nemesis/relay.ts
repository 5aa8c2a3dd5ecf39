/** A link between two processes: it can be cut, stand still, and be gone. */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";

export class Relay {
	readonly #target: number;
	readonly #server: Server;
	readonly #links = new Set<readonly [Socket, Socket]>();
	#isHeld = false;
	port = 0;

	private constructor(target: number) {
		this.#target = target;
		this.#server = createServer((near) => this.#join(near));
	}

	/** `target`: a port of this machine, where somebody need not be there yet. */
	static async start(t: TestContext, target: number): Promise<Relay> {
		const relay = new Relay(target);
		await relay.up();
		t.after(() => relay.down());
		return relay;
	}

	/** All of its connections end with a reset, and what was under way is gone. */
	cut(): void {
		for (const link of this.#links) for (const socket of link) reset(socket);
	}

	/** Nothing comes through any more, and nothing ends. */
	hold(): void {
		this.#isHeld = true;
		for (const [near, far] of this.#links) {
			near.unpipe(far).pause();
			far.unpipe(near).pause();
		}
	}

	release(): void {
		this.#isHeld = false;
		for (const [near, far] of this.#links) near.pipe(far).pipe(near);
	}

	/** As if nobody listened there. */
	async down(): Promise<void> {
		const closed = new Promise((resolve) => this.#server.close(resolve));
		this.cut();
		await closed;
	}

	/** On the port that it had before. */
	async up(): Promise<void> {
		await new Promise<void>((resolve, reject) => this.#server.once("error", reject).listen(this.port, "127.0.0.1", resolve));
		this.port = (this.#server.address() as AddressInfo).port;
	}

	#join(near: Socket): void {
		const far = connect(this.#target, "127.0.0.1");
		const link = [near, far] as const;
		this.#links.add(link);
		for (const socket of link) {
			// Delays are not what it is for.
			socket.setNoDelay(true);
			socket.on("error", () => {});
			socket.once("close", () => {
				for (const each of link) each.destroy();
				this.#links.delete(link);
			});
		}
		if (this.#isHeld) for (const socket of link) socket.pause();
		else near.pipe(far).pipe(near);
	}
}

/** One that is just being ended would never close: libuv refuses the reset (EINVAL), and Node takes it as done. */
function reset(socket: Socket): void {
	if (socket.writableEnded) socket.destroy();
	else socket.resetAndDestroy();
}
