/** Connections to PostgreSQL: a few for queries, one that listens and comes back by itself. Knows no table. */
import { Client, type ClientConfig, Pool, type PoolClient } from "pg";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";
import { type SecretSource, secretOf } from "../config/secret-source.ts";
import { connectFault, type EngineTls, hostOf, type TlsParts, tlsParts } from "../engines/engine-tls.ts";
import { channelOf } from "./postgres-schema.ts";

export interface LinkOptions {
	readonly url: string | SecretSource;
	/** Then nothing is said in plain text, and the URL must not speak of it. Undefined: as the URL has it (`sslmode`). */
	readonly tls?: EngineTls;
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
/** Of URLs of libpq that speak of TLS. */
const SSL_KEYS = ["sslmode", "ssl", "sslcert", "sslkey", "sslrootcert", "sslnegotiation"];
const RELISTEN_MIN_MS = 100;
const RELISTEN_MAX_MS = 5000;
// Each statement of a write has to see what was there when it got its lock (postgres-schema.ts).
const SESSION = `-c default_transaction_isolation=read\\ committed -c statement_timeout=${STATEMENT_TIMEOUT_MS}`;

export class PostgresLink {
	readonly #options: LinkOptions;
	readonly #channel: string;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #pool: Pool;
	readonly #listeners: (() => void)[] = [];
	#listener: Client | undefined;
	#retry: Timer | undefined;
	#failures = 0;
	#isClosed = false;

	constructor(options: LinkOptions) {
		const { schema, clock, rng } = options;
		this.#options = options;
		this.#channel = channelOf(schema);
		this.#clock = clock;
		this.#rng = rng;
		// Each connection is made with the secrets and files of its time.
		class FreshClient extends Client {
			constructor() {
				super(configOf(options));
			}
		}
		const { connectionTimeoutMillis } = timeoutsOf(options);
		this.#pool = new Pool({ Client: FreshClient, connectionTimeoutMillis, max: CONNECTIONS, idleTimeoutMillis: 0 });
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
		let client: Client;
		try {
			client = new Client(configOf(this.#options));
		} catch {
			// A file that is being renewed; whoever asks next is told.
			this.#listenLater();
			return;
		}
		this.#listener = client;
		let isOver = false;
		const again = (): void => {
			if (isOver) return;
			isOver = true;
			void client.end().catch(() => {});
			this.#listenLater();
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
			throw new NotConnected(`no connection: ${connectFault(thrown, this.#options.tls !== undefined)}`, { cause: thrown });
		}
	}

	#listenLater(): void {
		if (this.#isClosed) return;
		const backoffMs = Math.min(RELISTEN_MAX_MS, RELISTEN_MIN_MS * 2 ** this.#failures++);
		this.#retry = this.#clock.setTimer(backoffMs * (0.5 + this.#rng() / 2), () => this.listen());
	}

	#tell(): void {
		for (const listener of this.#listeners) listener();
	}
}

function timeoutsOf({ answerTimeoutMs = ANSWER_TIMEOUT_MS }: LinkOptions) {
	return { connectionTimeoutMillis: Math.min(CONNECT_TIMEOUT_MS, answerTimeoutMs), query_timeout: answerTimeoutMs };
}

/** Of a connection that is made now. Throws a readable error. */
function configOf(options: LinkOptions): ClientConfig {
	const connectionString = secretOf(options.url);
	return {
		connectionString,
		...timeoutsOf(options),
		options: SESSION,
		keepAlive: true,
		application_name: "nexus",
		...(options.tls === undefined ? {} : { ssl: sslOf(options.tls, connectionString) }),
	};
}

function sslOf(tls: EngineTls, text: string): TlsParts {
	const url = URL.parse(text);
	if (url === null) throw new Error("the URL of the database cannot be read");
	const spoken = SSL_KEYS.find((key) => url.searchParams.has(key));
	if (spoken !== undefined) throw new Error(`the URL says ${spoken}, and \`tls\` is given: keep one of them`);
	return tlsParts(tls, [hostOf(url.host)]);
}

/** The server has answered: the connection is at rest. A session that it ends (class 57P) is none. */
function isAnswer(thrown: unknown): boolean {
	return thrown instanceof Error && "severity" in thrown && thrown.severity === "ERROR";
}
