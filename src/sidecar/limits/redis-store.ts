/** Shared limits over one Redis: one connection, a short timeout for each question, and no question where no answer would come. */
import type { Clock, Timer } from "../../core/clock.ts";
import { codeOf } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import type { LeaseAnswer, LeaseQuestion, SharedStore } from "../../limits/shared-store.ts";
import { LEASE_SCRIPT, LEASE_SCRIPT_SHA1, leaseArguments, leaseReply } from "./lease-script.ts";
import type { RedisConnection, RedisConnector } from "./redis-connection.ts";

// A server that has not answered for so long is given up, with its connection; a slow one gets the chance to come back by itself.
const SILENCE_MAX_MS = 2000;
const RECONNECT_FIRST_MS = 50;
const RECONNECT_MAX_MS = 2000;
// Questions under way: each is one key of one limit. More than this says that the server is far too slow to be asked more.
const QUESTIONS_MAX = 1024;

const AWAY: LeaseAnswer = Object.freeze({ kind: "failed", detail: "no connection to Redis" });

export interface RedisStoreOptions {
	readonly connect: RedisConnector;
	readonly clock: Clock;
	readonly rng: Rng;
	/** `host:port`, for people. */
	readonly name: string;
	/** Each time it comes or goes; `detail` names no secret. */
	readonly onState: (store: string, available: boolean, detail: string) => void;
}

// connecting --ready--> available --a question times out--> silent --the answer comes after all--> available
//     ^                     |                                  | SILENCE_MAX_MS
//     '------ backoff ------+---------- connection lost -------'

export class RedisStore implements SharedStore {
	readonly #options: RedisStoreOptions;
	#connection: RedisConnection | undefined;
	/** Questions whose time was over before their answer came. */
	#overdue = 0;
	#underWay = 0;
	#failures = 0;
	#told: boolean | undefined;
	#timer: Timer | undefined;
	#closed = false;

	/** Begins to connect at once; nobody waits for it. */
	constructor(options: RedisStoreOptions) {
		this.#options = options;
		this.#connect();
	}

	get available(): boolean {
		return this.#connection !== undefined && this.#overdue === 0 && this.#underWay < QUESTIONS_MAX;
	}

	lease(question: LeaseQuestion): Promise<LeaseAnswer> {
		const connection = this.#connection;
		if (connection === undefined || !this.available) return Promise.resolve(AWAY);
		this.#underWay++;
		const { promise, resolve } = Promise.withResolvers<LeaseAnswer>();
		let overdue = false;
		const timer = this.#options.clock.setTimer(question.timeoutMs, () => {
			overdue = true;
			this.#silent(connection);
			resolve({ kind: "failed", detail: `Redis did not answer within ${question.timeoutMs} ms` });
		});
		void this.#ask(connection, question).then((answer) => {
			this.#underWay--;
			timer.cancel();
			if (overdue) this.#spoke(connection);
			resolve(answer);
		});
		return promise;
	}

	close(): void {
		this.#closed = true;
		this.#timer?.cancel();
		this.#connection?.destroy();
		this.#connection = undefined;
	}

	async #ask(connection: RedisConnection, { key, tokens, requestsPerSecond, burst }: LeaseQuestion): Promise<LeaseAnswer> {
		const parameters = leaseArguments(requestsPerSecond, burst, tokens);
		try {
			const reply = leaseReply(await this.#run(connection, key, parameters));
			return reply === undefined ? { kind: "failed", detail: "Redis gave a reply that is none of the script's" } : { kind: "granted", ...reply };
		} catch (thrown) {
			return { kind: "failed", detail: describe(thrown) };
		}
	}

	async #run(connection: RedisConnection, key: string, parameters: readonly string[]): Promise<unknown> {
		try {
			return await connection.evalSha(LEASE_SCRIPT_SHA1, key, parameters);
		} catch (thrown) {
			// It has been restarted, or its scripts were flushed.
			if (replyCode(thrown) !== "NOSCRIPT") throw thrown;
			return connection.eval(LEASE_SCRIPT, key, parameters);
		}
	}

	/** From now on nobody asks it, until it answers what it was asked. */
	#silent(connection: RedisConnection): void {
		if (connection !== this.#connection) return;
		this.#overdue++;
		if (this.#overdue > 1) return;
		this.#tell(false, "it does not answer");
		this.#timer = this.#options.clock.setTimer(SILENCE_MAX_MS, () => connection.destroy());
	}

	#spoke(connection: RedisConnection): void {
		if (connection !== this.#connection) return;
		this.#overdue--;
		if (this.#overdue > 0) return;
		this.#timer?.cancel();
		this.#tell(true, "it answers again");
	}

	#connect(): void {
		this.#options
			.connect((detail) => this.#lost(detail))
			.then(
				(connection) => this.#ready(connection),
				(thrown: unknown) => this.#lost(describe(thrown)),
			);
	}

	#ready(connection: RedisConnection): void {
		if (this.#closed) {
			connection.destroy();
			return;
		}
		this.#connection = connection;
		this.#overdue = 0;
		this.#failures = 0;
		this.#tell(true, "connected");
	}

	/** Once for each connection, and for each attempt that came to nothing. */
	#lost(detail: string): void {
		this.#connection = undefined;
		if (this.#closed) return;
		this.#tell(false, detail);
		this.#timer?.cancel();
		const maxMs = Math.min(RECONNECT_MAX_MS, RECONNECT_FIRST_MS * 2 ** Math.min(this.#failures++, 10));
		// Half of it at random: a mesh that has lost its Redis does not come back as one.
		this.#timer = this.#options.clock.setTimer(maxMs * (0.5 + 0.5 * this.#options.rng()), () => this.#connect());
	}

	#tell(available: boolean, detail: string): void {
		if (this.#told === available) return;
		this.#told = available;
		this.#options.onState(this.#options.name, available, detail);
	}
}

/** Code or first word alone: messages of servers and URL parsers may repeat what they were given, which may hold a password. */
function describe(thrown: unknown): string {
	const code = codeOf(thrown) ?? replyCode(thrown);
	return code === undefined ? "the connection to Redis failed" : `Redis: ${code}`;
}

/** `NOSCRIPT`, `WRONGPASS`, `OOM`: what an error reply of Redis begins with. */
function replyCode(thrown: unknown): string | undefined {
	return thrown instanceof Error ? /^[A-Z]{2,20}(?= |$)/.exec(thrown.message)?.[0] : undefined;
}
