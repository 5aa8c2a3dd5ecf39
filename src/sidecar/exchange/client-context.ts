/** What the connections of one listener share. */
import type { RequestParser } from "../../http1/request-parser.ts";
import type { ReadBuffer } from "../../net/byte-socket.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { ExchangeDeps } from "./downstream.ts";
import type { Exchange } from "./exchange.ts";
import type { Stack } from "./stack.ts";

export interface ClientContext extends ExchangeDeps {
	readonly shared: ReadBuffer;
	/** Free ones; a connection takes one while it reads a head. */
	readonly parsers: RequestParser[];
	/** Free ones, as `parsers`. */
	readonly exchanges: Exchange[];
	/** Replaced by a reload. */
	stack: Stack;
	draining: boolean;
	readonly onClosed: (connection: ClientConnection) => void;
}
