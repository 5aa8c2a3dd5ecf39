/** The two sides between which an exchange stands, as it sees them: the client's connection, and what it is given to work with. */
import type { Room } from "../../net/loop-memory.ts";
import type { ExchangeObserver } from "../../telemetry/access-record.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import type { ExchangeTracing } from "./exchange-tracing.ts";
import type { TriesDeps } from "./tries.ts";
import type { VainRetries } from "./vain-retries.ts";

/** The client's connection, as the exchange needs it. */
export interface Downstream extends Room {
	readonly draining: boolean;
	/** Writes latin1 text; returns whether more may follow now, otherwise `Exchange.onDownstreamWritable` tells when. */
	write(text: string): boolean;
	/** The same for bytes composed in its `room`. */
	writeBytes(part: Buffer): boolean;
	/** Stops and goes on reading the request body. */
	pauseReading(): void;
	resumeReading(): void;
	/** The answer is complete; `close`: nothing may follow on this connection. */
	exchangeEnded(close: boolean): void;
	/** The answer cannot be completed: the client must see that it was cut (RFC 9112 8). `reset`: an orderly end would look like the answer's own. */
	abort(reset: boolean): void;
	/** The connection becomes a tunnel to `upstream`; `head` goes out first, then `early` of the upstream's bytes. */
	becomeTunnel(upstream: Http1Connection, head: string, early: Buffer): void;
}

export interface ExchangeDeps extends TriesDeps {
	readonly observer: ExchangeObserver;
	readonly tracing: ExchangeTracing;
	readonly vain: VainRetries;
}

/** The downstream of an exchange that lies in the pool. Anything it is told is a fault of ours. */
export const NOBODY: Downstream = Object.freeze({
	draining: false,
	room: unattached,
	write: unattached,
	writeBytes: unattached,
	pauseReading: unattached,
	resumeReading: unattached,
	exchangeEnded: unattached,
	abort: unattached,
	becomeTunnel: unattached,
});

function unattached(): never {
	throw new Error("an exchange without a connection was used");
}
