/** What the connections of one listener share, and the objects that they borrow only while they need them. */
import { RequestParser } from "../../http1/request-parser.ts";
import type { LoopMemory } from "../../net/loop-memory.ts";
import { type Downstream, type ExchangeDeps, NOBODY } from "./downstream.ts";
import { Exchange } from "./exchange.ts";
import type { Stack } from "./stack.ts";

export interface ClientContextOptions extends ExchangeDeps {
	/** One per event loop. */
	readonly shared: LoopMemory;
	readonly stack: Stack;
	/** That the listener is bound to. */
	readonly port: () => number;
	/** A connection of this listener has closed. */
	readonly onClosed: (connection: Downstream) => void;
	/** Somebody speaks TLS where plain text is spoken. */
	readonly onTlsOnPlaintext: (address: string) => void;
}

export class ClientContext {
	readonly deps: ExchangeDeps;
	readonly shared: LoopMemory;
	readonly port: () => number;
	readonly onClosed: (connection: Downstream) => void;
	readonly onTlsOnPlaintext: (address: string) => void;
	/** Replaced by a reload. */
	stack: Stack;
	draining = false;
	// As many as were in use at one time; a parser is 3 KB, an exchange 1 KB, an idle connection needs neither.
	readonly #parsers: RequestParser[] = [];
	readonly #exchanges: Exchange[] = [];

	constructor(options: ClientContextOptions) {
		this.deps = options;
		this.shared = options.shared;
		this.stack = options.stack;
		this.port = options.port;
		this.onClosed = options.onClosed;
		this.onTlsOnPlaintext = options.onTlsOnPlaintext;
	}

	takeParser(): RequestParser {
		return this.#parsers.pop() ?? new RequestParser();
	}

	giveBackParser(parser: RequestParser): void {
		parser.reset();
		this.#parsers.push(parser);
	}

	takeExchange(downstream: Downstream): Exchange {
		const exchange = this.#exchanges.pop() ?? new Exchange(this.deps);
		exchange.attach(downstream);
		return exchange;
	}

	giveBackExchange(exchange: Exchange): void {
		exchange.attach(NOBODY);
		this.#exchanges.push(exchange);
	}
}
