/** What the data plane knows of distributed tracing: where spans come from, whoever makes and sends them. */
import type { Reason } from "../../core/reasons.ts";
import type { Direction } from "../../metrics/traffic.ts";
import type { Decision } from "../../policy/decision-trace.ts";
import type { ExchangeRecord } from "../access-record.ts";

/** The head of a request, as received. */
export interface SpanStart {
	/** May be "", or not well-formed: then a trace may begin here. */
	readonly traceparent: string;
	readonly tracestate: string;
	/** Goes on with the request and is never recorded: anybody may have put anything into it. */
	readonly baggage: string;
	readonly method: string;
	readonly target: string;
	readonly host: string;
	readonly direction: Direction;
	/** When the last byte of the head came. */
	readonly startWallMs: number;
	/** Whose sidecar this is. */
	readonly service: string;
}

export interface SpanSource {
	/**
	 * Undefined: not sampled; then the `traceparent` of the request goes on as it came. A caller that samples is followed, one
	 * that does not as well; without one a trace begins here for `sample` of the requests. Never throws, never waits.
	 */
	begin(start: SpanStart): ExchangeSpan | undefined;
	/** Sends what has ended, and gives up after `timeoutMs`. Idempotent, never rejects. */
	close(timeoutMs: number): Promise<void>;
	readonly stats: SpanStats;
}

export interface SpanStats {
	/** Spans made, those of tries included. */
	readonly ended: number;
	/** Of what was sampled: not recorded or not delivered, as whoever collects them is away or too slow. */
	readonly dropped: number;
}

/** The span of one exchange. */
export interface ExchangeSpan {
	/** Of this span, for what goes upstream without a try of its own, such as a mirrored copy. */
	readonly traceparent: string;
	/** Begins a client span for one try, 1 for the first; its traceparent goes upstream. `endpoint`: `host:port` or `unix:/path`. */
	attempt(n: number, endpoint: string): AttemptSpan;
	/** Once. Tries that have not ended by then end as they are. */
	end(record: ExchangeRecord, decisions: readonly Decision[]): void;
}

export interface AttemptSpan {
	readonly traceparent: string;
	/** `status` 0 where no answer came. Ends it once; later calls do nothing. */
	end(status: number, reason: Reason | undefined, detail: string): void;
}
