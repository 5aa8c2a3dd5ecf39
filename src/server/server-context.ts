/** What the connections of one server share. */
import type { Clock } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import { RequestParser } from "../http1/request-parser.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import type { GuardFields } from "./guard.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { ServerRequest } from "./server-request.ts";
import type { ServerResponse } from "./server-response.ts";

export interface ServerContextOptions {
	readonly clock: Clock;
	/** One each per event loop. */
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	/** Answers in every case, now or later; never throws. */
	readonly serve: (req: ServerRequest, res: ServerResponse, fields: GuardFields) => void;
	readonly onClosed: (connection: ServerConnection) => void;
}

// A parser is 3 KB and needed only while a head arrives: a flood of slow heads must not leave thousands behind.
const SPARE_PARSERS_MAX = 32;

export class ServerContext {
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly serve: ServerContextOptions["serve"];
	readonly onClosed: ServerContextOptions["onClosed"];
	/** No request follows the ones under way. */
	draining = false;
	readonly #clock: Clock;
	readonly #parsers: RequestParser[] = [];
	#second = Number.NaN;
	#dateLine = "";

	constructor(options: ServerContextOptions) {
		this.#clock = options.clock;
		this.wheel = options.wheel;
		this.shared = options.shared;
		this.serve = options.serve;
		this.onClosed = options.onClosed;
	}

	takeParser(): RequestParser {
		return this.#parsers.pop() ?? new RequestParser();
	}

	giveBackParser(parser: RequestParser): void {
		if (this.#parsers.length === SPARE_PARSERS_MAX) return;
		parser.reset();
		this.#parsers.push(parser);
	}

	/** The `date` field line of this second (RFC 9110 section 6.6.1). */
	dateLine(): string {
		const second = Math.floor(this.#clock.wallMs() / 1000);
		if (second !== this.#second) {
			this.#second = second;
			this.#dateLine = `date: ${new Date(second * 1000).toUTCString()}\r\n`;
		}
		return this.#dateLine;
	}
}
