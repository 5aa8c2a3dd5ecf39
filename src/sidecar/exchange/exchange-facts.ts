/** What is known of one exchange, told at its end: the record of log and events, reused from one exchange to the next. */
import type { Reason } from "../../core/reasons.ts";
import type { Direction } from "../../metrics/traffic.ts";
import type { ExchangeRecord } from "../../telemetry/access-record.ts";
import type { Client, Correlation, Stack } from "./stack.ts";

export class ExchangeFacts implements ExchangeRecord, Correlation {
	direction: Direction = "inbound";
	method = "";
	target = "";
	host = "";
	route = "";
	upstream = "";
	endpoint = "";
	status = 0;
	reason: Reason | undefined;
	detail = "";
	requestId = "";
	traceparent = "";
	clientAddress = "";
	caller = "";
	attempts = 0;
	bytesIn = 0;
	bytesOut = 0;
	durationMs = 0;
	upstreamMs = 0;
	/** Whether each try says its own traceparent. */
	spanned = false;

	/** Forgets the exchange before. */
	protected forget(stack: Stack, client: Client): void {
		this.direction = stack.direction;
		this.clientAddress = client.address;
		this.caller = client.caller;
		this.method = this.target = this.host = this.route = this.upstream = this.endpoint = "";
		this.detail = this.requestId = this.traceparent = "";
		this.status = this.attempts = this.bytesIn = this.bytesOut = this.durationMs = this.upstreamMs = 0;
		this.reason = undefined;
		this.spanned = false;
	}
}
