/** The event log on a Redis stream. Order, numbers and identities are the server's, by scripts that run whole (see redis-scripts.ts). */
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { SecretSource } from "../config/secret-source.ts";
import { connectFault, type EngineTls, type TlsParts, urlAccess } from "../engines/engine-tls.ts";
import {
	APPEND_TIMEOUT_MS,
	type Bounds,
	type Broker,
	type BrokerAppend,
	type BrokerEvent,
	NEXT_WAIT_MS,
	type Next,
	READ_TIMEOUT_MS,
	within,
} from "./broker.ts";
import { BrokerLink } from "./broker-link.ts";
import { openBrokerLog } from "./broker-log.ts";
import { BACKENDS, type LogCapabilities } from "./capabilities.ts";
import type { AppendFailure, EventLog, RetentionLimits, StoredEvent } from "./event-log.ts";
import { checkReplay } from "./redis-replay.ts";
import { APPEND_SCRIPT, SEQUENCE_AT_SCRIPT, SKIP_SCRIPT } from "./redis-scripts.ts";

export interface RedisLogConfig {
	/** `redis://` or `rediss://`; may hold credentials, and stands in no error. */
	readonly url: string | SecretSource;
	/** With `rediss://` alone; undefined: the roots of this machine. */
	readonly tls?: EngineTls;
	/** What its keys begin with; in braces, so that a cluster keeps them together. */
	readonly prefix: string;
}

export interface RedisLogOptions extends RedisLogConfig {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Identities that the server remembers, about 100 bytes each. */
const WINDOW_EVENTS = 1_000_000;
const TAIL_EVENTS = 1024;
const PREFIX = /^[A-Za-z0-9:_-]{1,64}$/;

/** Rejects with a readable error where the server cannot be reached, or would drop keys when its memory is full. */
export async function openRedisLog(options: RedisLogOptions): Promise<EventLog> {
	const { clock, log, retention, prefix } = options;
	if (!PREFIX.test(prefix)) throw new Error("the prefix of the log's keys is 1 to 64 letters, digits and `:_-`");
	const broker = await RedisBroker.open(options);
	return openBrokerLog({ broker, clock, log, dedupesHere: false, ...(retention && { retention }) });
}

/** Replies are strings, for JSON is text; those that end by waiting come on a connection of their own. */
interface Session {
	/** "" where it is nobody in particular. */
	readonly user: string;
	send(args: readonly (string | Buffer)[]): Promise<unknown>;
	wait(args: readonly string[]): Promise<unknown>;
	destroy(): void;
}

type Entry = readonly [id: string, fields: readonly string[]];

class RedisBroker implements Broker {
	readonly capabilities: LogCapabilities;
	readonly #clock: Clock;
	readonly #link: BrokerLink<Session>;
	readonly #stream: string;
	readonly #identities: string;
	readonly #counter: string;

	private constructor({ prefix, clock }: RedisLogOptions, link: BrokerLink<Session>, capabilities: LogCapabilities) {
		this.#clock = clock;
		this.#link = link;
		this.#stream = `{${prefix}}:events`;
		this.#identities = `{${prefix}}:identities`;
		this.#counter = `{${prefix}}:counter`;
		this.capabilities = capabilities;
	}

	static async open(options: RedisLogOptions): Promise<RedisBroker> {
		const link = new BrokerLink<Session>(
			(lost) => connect(options, lost),
			async (session) => session.destroy(),
		);
		try {
			const session = await link.get();
			const broker = new RedisBroker(options, link, await capabilitiesOf(session));
			const isReplayed = broker.capabilities.durability !== "memory";
			if (isReplayed && session.user !== "" && session.user !== "default") await checkReplay(session.send, broker.#stream);
			return broker;
		} catch (thrown) {
			await link.close();
			throw thrown;
		}
	}

	async append(events: readonly BrokerEvent[], receivedAtMs: number): Promise<BrokerAppend> {
		const args: (string | Buffer)[] = [
			"EVAL",
			APPEND_SCRIPT,
			"3",
			this.#stream,
			this.#identities,
			this.#counter,
			String(WINDOW_EVENTS),
			String(receivedAtMs),
		];
		for (const { identity, json } of events) args.push(identity, json);
		try {
			const answers = (await this.#send(args, APPEND_TIMEOUT_MS)) as readonly number[];
			return { ok: true, receipts: answers.map((answer) => ({ sequence: Math.abs(answer), isDuplicate: answer < 0 })) };
		} catch (thrown) {
			return { ok: false, failure: failureOf(messageOf(thrown)), detail: messageOf(thrown) };
		}
	}

	async fetch(first: number, count: number): Promise<readonly StoredEvent[]> {
		return stored(await this.#send(["XRANGE", this.#stream, `${first}-0`, "+", "COUNT", String(count)]));
	}

	async next(after: number): Promise<Next> {
		const session = await this.#link.get();
		const waiting = session.wait(["XREAD", "COUNT", String(TAIL_EVENTS), "BLOCK", String(NEXT_WAIT_MS), "STREAMS", this.#stream, `${after}-0`]);
		try {
			const answer = (await within(this.#clock, NEXT_WAIT_MS + READ_TIMEOUT_MS, "waiting for events", waiting)) as
				| readonly [string, unknown][]
				| null;
			const events = answer === null ? [] : stored(answer[0]?.[1]);
			return { events, position: events.at(-1)?.sequence ?? after };
		} catch (thrown) {
			this.#link.drop();
			throw thrown;
		}
	}

	async bounds(): Promise<Bounds> {
		const [last, oldest, bytes] = await Promise.all([
			this.#send(["HGET", this.#counter, "sequence"]),
			this.#send(["XRANGE", this.#stream, "-", "+", "COUNT", "1"]),
			this.#send(["MEMORY", "USAGE", this.#stream]),
		]);
		const lastSequence = Number(last ?? 0);
		return { first: stored(oldest)[0]?.sequence ?? lastSequence + 1, last: lastSequence, bytes: Number(bytes ?? 0) };
	}

	async sequenceAt(timeMs: number): Promise<number | undefined> {
		const sequence = await this.#send(["EVAL", SEQUENCE_AT_SCRIPT, "1", this.#stream, String(timeMs)]);
		return sequence === null ? undefined : Number(sequence);
	}

	async skipTo(sequence: number): Promise<void> {
		await this.#send(["EVAL", SKIP_SCRIPT, "1", this.#counter, String(sequence)]);
	}

	async removeBefore(sequence: number): Promise<void> {
		await this.#send(["XTRIM", this.#stream, "MINID", `${sequence}-0`]);
	}

	close(): Promise<void> {
		return this.#link.close();
	}

	async #send(args: readonly (string | Buffer)[], timeoutMs = READ_TIMEOUT_MS): Promise<unknown> {
		const session = await this.#link.get();
		return within(this.#clock, timeoutMs, "an answer of Redis", session.send(args));
	}
}

async function connect(options: RedisLogOptions, lost: () => void): Promise<Session> {
	const { url, host, tls } = urlAccess(options, "redis:", "rediss:");
	try {
		return await connectTo(url, tls, lost);
	} catch (thrown) {
		throw new Error(`Redis at ${host}: ${connectFault(thrown, tls !== undefined)}`, { cause: thrown });
	}
}

async function connectTo(url: string, tls: TlsParts | undefined, lost: () => void): Promise<Session> {
	const { ConnectionTimeoutError, createClient } = await import("redis");
	const common = { reconnectStrategy: false, connectTimeout: CONNECT_TIMEOUT_MS } as const;
	const socket = tls === undefined ? common : { ...common, tls: true as const, ...tls };
	// RESP2: the answers of raw commands are arrays, as the scripts make them.
	const options = { url, RESP: 2, disableOfflineQueue: true, disableClientInfo: true, commandOptions: { timeout: 0 }, socket } as const;
	const clients = [createClient(options), createClient(options)] as const;
	const destroy = (): void => {
		for (const client of clients) client.destroy();
	};
	for (const client of clients) client.on("error", lost).on("end", lost);
	try {
		await Promise.all(clients.map((client) => client.connect()));
	} catch (thrown) {
		destroy();
		if (tls === undefined || !(thrown instanceof ConnectionTimeoutError)) throw thrown;
		// In plain text the server waits for the end of a line, and TLS begins with something else.
		throw new Error(`no connection over TLS within ${CONNECT_TIMEOUT_MS} ms; does it speak plain text on that port?`, { cause: thrown });
	}
	const [first, second] = clients;
	const user = decodeURIComponent(new URL(url).username);
	return { user, send: (args) => first.sendCommand([...args]), wait: (args) => second.sendCommand([...args]), destroy };
}

/** Durability is what the server says of itself: the most that it can promise while it is configured so. */
async function capabilitiesOf(session: Session): Promise<LogCapabilities> {
	const [appendonly, appendfsync, policy] = await Promise.all(
		["appendonly", "appendfsync", "maxmemory-policy"].map(async (name) => ((await session.send(["CONFIG", "GET", name])) as string[])[1]),
	);
	if (policy !== "noeviction") throw new Error(`Redis drops keys when its memory is full (maxmemory-policy ${policy}); a log needs noeviction`);
	if (appendonly !== "yes") return { ...BACKENDS.redis, durability: "memory", durabilityBasis: "appendonly no, as the server says" };
	const durability = appendfsync === "always" ? "disk" : "os";
	return { ...BACKENDS.redis, durability, durabilityBasis: `appendfsync ${appendfsync}, as the server says` };
}

function stored(entries: unknown): readonly StoredEvent[] {
	return (entries as readonly Entry[]).map(([id, [, time, , json]]) => ({
		sequence: Number.parseInt(id, 10),
		receivedAtMs: Number(time),
		json: Buffer.from(json ?? ""),
	}));
}

// https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors: the first word is the kind.
function failureOf(message: string): AppendFailure {
	if (message.includes("OOM ")) return "full";
	return message.includes("MISCONF ") ? "io" : "unavailable";
}
