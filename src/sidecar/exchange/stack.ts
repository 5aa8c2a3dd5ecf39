/** What an exchange asks of the direction that it runs in: decide where the request goes, and write its head for there. */
import type { Reason } from "../../core/reasons.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { Direction, TrafficCounters } from "../../metrics/traffic.ts";
import type { ListenerLimits } from "../../policy/snapshot.ts";
import type { Upstream } from "../../upstream/upstream.ts";

/** Where a request goes. Built when policy changes, shared by all requests of a route. */
export interface Target {
	readonly kind: "target";
	/** Name of the route, or "" where the Host alone named the upstream. */
	readonly route: string;
	readonly upstream: Upstream;
	readonly counters: TrafficCounters;
	/** Replaces Host towards the upstream. */
	readonly rewriteHost: string | undefined;
}

export interface Refusal {
	readonly kind: "refusal";
	readonly reason: Reason;
	readonly detail: string;
}

/** What is known of the client of a connection. */
export interface Client {
	/** Address without port; "" when it is already gone. */
	readonly address: string;
	/** Whether its x-forwarded-* are believed (RFC 7239 section 8.1: only from a known proxy). */
	readonly trusted: boolean;
	/** Lines that go with each of its requests. */
	readonly forwardedLines: string;
}

/** Ids of one exchange; taken from the request where it has them, else made. */
export interface Correlation {
	requestId: string;
	traceparent: string;
}

/** One direction of one policy version. Immutable: a reload builds another, requests in flight finish on theirs. */
export interface Stack {
	readonly direction: Direction;
	readonly limits: ListenerLimits;
	/** Counts what was refused before a target was known. */
	readonly refused: TrafficCounters;
	/** How the client of a new connection is to be treated. */
	meet(address: string): Client;
	decide(request: RequestParser): Target | Refusal;
	/** Head of the request to the upstream, latin1; fills `correlation`. */
	requestHead(request: RequestParser, target: Target, client: Client, correlation: Correlation): string;
}

export function refusal(reason: Reason, detail: string): Refusal {
	return { kind: "refusal", reason, detail };
}
