/** What the log, the tap and the tests are told of one finished exchange. */
import type { Reason } from "../core/reasons.ts";
import type { Direction } from "../metrics/traffic.ts";

/** Valid only during the call that hands it over: the data plane reuses the object. */
export interface ExchangeRecord {
	readonly direction: Direction;
	readonly method: string;
	/** Request target, normal where it has a normal form, at most 16 KiB. */
	readonly target: string;
	readonly host: string;
	readonly route: string;
	readonly upstream: string;
	/** `host:port` of the endpoint, or "" where none was asked. */
	readonly endpoint: string;
	/** 0 where no status was sent at all. */
	readonly status: number;
	readonly reason: Reason | undefined;
	/** The particular of the reason (rule and offset, system error), or "". */
	readonly detail: string;
	readonly requestId: string;
	readonly traceparent: string;
	readonly clientAddress: string;
	/** SPIFFE ID that the client has proven; "" where it has none. */
	readonly caller: string;
	readonly attempts: number;
	/** Body bytes. */
	readonly bytesIn: number;
	readonly bytesOut: number;
	readonly durationMs: number;
	/** Until the answer's head came; 0 where none came. */
	readonly upstreamMs: number;
}

export interface ExchangeObserver {
	/** Called once per exchange, at its end. Must not throw, block or keep the record. */
	record(exchange: ExchangeRecord): void;
}
