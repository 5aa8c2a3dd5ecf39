/** The two sides between which an exchange stands, as it sees them: the client's connection, and what it is given to work with. */
import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/deadline-wheel.ts";
import type { Room } from "../../net/loop-memory.ts";
import type { ExchangeObserver } from "../../telemetry/access-record.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";

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
	/** The answer cannot be completed: the client must see that it was cut (RFC 9112 8). */
	abort(): void;
	/** The connection becomes a tunnel to `upstream`; `head` goes out first, then `early` of the upstream's bytes. */
	becomeTunnel(upstream: Http1Connection, head: string, early: Buffer): void;
}

export interface ExchangeDeps {
	readonly clock: Clock;
	readonly wheel: DeadlineWheel;
	readonly observer: ExchangeObserver;
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
