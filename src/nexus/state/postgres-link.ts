/** Connections to PostgreSQL: a few for queries, one that listens and comes back by itself. Knows no table. */
import { Client, type ClientConfig, Pool, type PoolClient } from "pg";
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import { channelOf } from "./postgres-schema.ts";

export interface LinkOptions {
	readonly url: string;
	readonly schema: string;
	/** Default 12 s. */
	readonly answerTimeoutMs?: number;
	readonly clock: Clock;
	readonly rng: Rng;
}

/** No connection was made, so nothing was asked. */
export class NotConnected extends Error {}

// One for the group on its way, the others for reads.
const CONNECTIONS = 4;
const CONNECT_TIMEOUT_MS = 5000;
// The server gives up first, and says so; a server that says nothing is given up after that.
const STATEMENT_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 12_000;
const RELISTEN_MIN_MS = 100;
const RELISTEN_MAX_MS = 5000;
// Each statement of a write has to see what was there when it got its lock (postgres-schema.ts).
const SESSION = `-c default_transaction_isolation=read\\ committed -c statement_timeout=${STATEMENT_TIMEOUT_MS}`;

export class PostgresLink {
	readonly #config: ClientConfig;
	readonly #channel: string;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #pool: Pool;
	readonly #listeners: (() => void)[] = [];
	#listener: Client | undefined;
	#retry: Timer | undefined;
	#failures = 0;
	#isClosed = false;

	constructor({ url, schema, answerTimeoutMs = ANSWER_TIMEOUT_MS, clock, rng }: LinkOptions) {
		this.#config = {
			connectionString: url,
			connectionTimeoutMillis: Math.min(CONNECT_TIMEOUT_MS, answerTimeoutMs),
			query_timeout: answerTimeoutMs,
			options: SESSION,
			keepAlive: true,
			application_name: "nexus",
		};
		this.#channel = channelOf(schema);
		this.#clock = clock;
		this.#rng = rng;
		this.#pool = new Pool({ ...this.#config, max: CONNECTIONS, idleTimeoutMillis: 0 });
		// An idle connection that dies is replaced by the next who asks.
		this.#pool.on("error", () => {});
	}

	/** Throws NotConnected, or what the use throws. A connection whose state nobody knows is not used again. */
	async use<T>(use: (client: PoolClient) => Promise<T>): Promise<T> {
		const client = await this.#connect();
		let fault: unknown = true;
		// Between two queries nobody else hears that the connection is gone.
		const ignore = (): void => {};
		client.on("error", ignore);
		try {
			const result = await use(client);
			fault = undefined;
			return result;
		} catch (thrown) {
			if (isAnswer(thrown)) fault = undefined;
			throw thrown;
		} finally {
			client.off("error", ignore);
			client.release(fault !== undefined);
		}
	}

	onNotification(listener: () => void): void {
		this.#listeners.push(listener);
	}

	/** From now on, until it is closed; after each loss all are told, because nobody knows what was missed. */
	listen(): void {
		if (this.#isClosed) return;
		const client = new Client(this.#config);
		this.#listener = client;
		let isOver = false;
		const again = (): void => {
			if (isOver) return;
			isOver = true;
			void client.end().catch(() => {});
			if (this.#isClosed) return;
			const backoffMs = Math.min(RELISTEN_MAX_MS, RELISTEN_MIN_MS * 2 ** this.#failures++);
			this.#retry = this.#clock.setTimer(backoffMs * (0.5 + this.#rng() / 2), () => this.listen());
		};
		client.on("error", again);
		client.on("end", again);
		client.on("notification", () => this.#tell());
		client
			.connect()
			.then(() => client.query(`LISTEN ${this.#channel}`))
			.then(() => {
				this.#failures = 0;
				this.#tell();
			}, again);
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#retry?.cancel();
		await Promise.all([this.#listener?.end().catch(() => {}), this.#pool.end()]);
	}

	async #connect(): Promise<PoolClient> {
		try {
			return await this.#pool.connect();
		} catch (thrown) {
			throw new NotConnected(`no connection: ${messageOf(thrown)}`, { cause: thrown });
		}
	}

	#tell(): void {
		for (const listener of this.#listeners) listener();
	}
}

/** The server has answered: the connection is at rest. A session that it ends (class 57P) is none. */
function isAnswer(thrown: unknown): boolean {
	return thrown instanceof Error && "severity" in thrown && thrown.severity === "ERROR";
}
