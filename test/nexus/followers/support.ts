/** What the tests of followers share: streams over real sockets, readers of them that may stop, and a log that can be held up. */
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { Followers } from "../../../src/nexus/followers/followers.ts";
import type { EventFilter, EventLog, ReadQuery, ReadResult } from "../../../src/nexus/log/event-log.ts";
import { startHttpServer } from "../../../src/server/http-server.ts";
import { SseStream } from "../../../src/server/sse.ts";

const PATIENCE_MS = 20_000;

/** Turns of the loop until `isSo`, not a time to be guessed. */
export async function until(isSo: () => boolean, what: string): Promise<void> {
	const giveUpAt = performance.now() + PATIENCE_MS;
	while (!isSo()) {
		if (performance.now() > giveUpAt) throw new Error(`it did not come to this: ${what}`);
		await setImmediate();
	}
}

/** One who reads a stream: what it has been told, in order. */
export class Reader {
	readonly sequences: number[] = [];
	readonly gaps: { first: number; last: number }[] = [];
	/** Of events and gaps, as they came. */
	readonly order: string[] = [];
	readonly events: unknown[] = [];
	isClosed = false;
	readonly socket: Socket;
	#rest = "";

	constructor(socket: Socket) {
		this.socket = socket;
		socket.setEncoding("utf8");
		socket.on("data", (chunk: string) => this.#take(chunk));
		socket.on("error", () => {});
		socket.on("close", () => {
			this.isClosed = true;
		});
	}

	#take(chunk: string): void {
		// Sizes of chunks stand on lines of their own, which no line of a stream looks like.
		const messages = (this.#rest + chunk).split("\n\n");
		this.#rest = messages.pop() ?? "";
		for (const message of messages) {
			const lines = message.split(/\r?\n/);
			const data = lines.flatMap((line) => (line.startsWith("data: ") ? line.slice("data: ".length) : [])).join("\n");
			if (data === "") continue;
			const told = JSON.parse(data) as { sequence: number; event: unknown; first: number; last: number };
			if (lines.includes("event: gap")) {
				this.gaps.push(told);
				this.order.push(`${told.first}-${told.last}`);
			} else {
				this.sequences.push(told.sequence);
				this.events.push(told.event);
				this.order.push(String(told.sequence));
			}
		}
	}
}

/** Opens streams that `followers` feed, over a server of their own. */
export async function followerHouse(t: TestContext, log: EventLog, logger = silentLogger) {
	const followers = new Followers({ log, logger });
	const waiting: { filter: EventFilter; after: number; opened: (stream: SseStream) => void }[] = [];
	const server = await startHttpServer({
		listen: { host: "127.0.0.1", port: 0 },
		log: silentLogger,
		drainTimeoutMs: 0,
		handler: (_req, res) => {
			const stream = SseStream.open(res, { clock: systemClock });
			const { filter, after, opened } = waiting.shift() as (typeof waiting)[number];
			followers.follow(stream, filter, after);
			opened(stream);
		},
	});
	t.after(() => server.close());
	return async (after: number, filter: EventFilter = {}): Promise<{ reader: Reader; stream: SseStream }> => {
		const socket = connect(server.address.port, server.address.host);
		t.after(() => socket.destroy());
		const reader = new Reader(socket);
		const { promise, resolve } = Promise.withResolvers<SseStream>();
		waiting.push({ filter, after, opened: resolve });
		socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
		return { reader, stream: await promise };
	};
}

/** A log that counts its reads and listeners, and whose reads can be held up or made to fail. */
export class WatchedLog implements EventLog {
	readonly capabilities;
	#log: EventLog;
	readonly #told = new Set<() => void>();
	reads = 0;
	listeners = 0;
	/** Awaited before each read. */
	beforeRead: (query: ReadQuery) => Promise<void> = async () => {};
	/** May change what was read, or let time pass before it is handed over. */
	afterRead: (result: ReadResult) => Promise<ReadResult> = async (result) => result;

	constructor(log: EventLog) {
		this.#log = log;
		this.capabilities = log.capabilities;
	}

	async read(query: ReadQuery): Promise<ReadResult> {
		this.reads++;
		await this.beforeRead(query);
		return await this.afterRead(await this.#log.read(query));
	}

	onCommit(listener: () => void): () => void {
		this.listeners++;
		let stop = this.#log.onCommit(listener);
		const again = (): void => {
			stop();
			stop = this.#log.onCommit(listener);
			listener();
		};
		this.#told.add(again);
		return () => {
			this.listeners--;
			this.#told.delete(again);
			stop();
		};
	}

	/** Another log takes its place, as when a broker has lost its end. */
	become(log: EventLog): void {
		this.#log = log;
		for (const again of this.#told) again();
	}

	append: EventLog["append"] = (batch) => this.#log.append(batch);
	truncate: EventLog["truncate"] = (limits) => this.#log.truncate(limits);
	stats: EventLog["stats"] = () => this.#log.stats();
	close: EventLog["close"] = () => this.#log.close();
}
