/** What an exchange asks of the direction that it runs in: decide where the request goes, and write its head for there. */
import type { Reason } from "../../core/reasons.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { CallerRules } from "../../identity/authorization/authorizer.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import type { LimitSet } from "../../limits/limit-set.ts";
import type { Direction, TrafficCounters } from "../../metrics/traffic.ts";
import type { DecisionData, DecisionLog, DecisionStage } from "../../policy/decision-trace.ts";
import type { RetryPolicy, StaticResponse } from "../../policy/resilience-policy.ts";
import type { ListenerLimits, Place } from "../../policy/snapshot.ts";
import type { HashKey } from "../../policy/traffic-policy.ts";
import type { Upstream } from "../../upstream/upstream.ts";
import type { FieldChanges } from "./field-changes.ts";
import type { Mirror } from "./mirror.ts";
import type { RequestView } from "./request-view.ts";

/** Where a request goes. Built when policy changes, shared by all requests of a route. */
export interface Target {
	readonly kind: "target";
	/** Name of the route, or "" where the Host alone named the upstream. */
	readonly route: string;
	/** Of the route, else of the upstream; undefined where no line of the policy names either. */
	readonly place: Place | undefined;
	readonly upstream: Upstream;
	readonly counters: TrafficCounters;
	/** Replaces Host towards the upstream. */
	readonly rewriteHost: string | undefined;
	/** The target towards the upstream, from the one that came. */
	readonly rewriteTarget: ((target: string) => string) | undefined;
	readonly requestMs: number;
	readonly idleMs: number;
	readonly retry: RetryPolicy;
	/** `x-nexus-deadline-ms` of a request that has all its time; undefined where the upstream is not of the mesh. */
	readonly deadlineLine: string | undefined;
	/** That line, where there is one, and the empty line that ends a head. */
	readonly headEnd: string;
	readonly limits: LimitSet | undefined;
	readonly hashOn: HashKey | undefined;
	readonly mirror: Mirror | undefined;
	readonly requestChanges: FieldChanges | undefined;
	readonly responseChanges: FieldChanges | undefined;
	/** Where to go instead while the breaker is open. */
	readonly failover: readonly Upstream[];
	readonly respondWhenOpen: StaticResponse | undefined;
}

export interface Refusal {
	readonly kind: "refusal";
	readonly reason: Reason;
	/** For operators. */
	readonly detail: string;
	/** For the client: its answer. */
	readonly told: string;
	/** What decided, for the trace; undefined where the detail says it all. */
	readonly because: RefusalCause | undefined;
}

export interface RefusalCause {
	readonly stage: DecisionStage;
	readonly text: string;
	readonly place: Place;
	readonly data: DecisionData;
}

/** The policy itself is the answer: a redirect or a fixed response. */
export interface PolicyAnswer {
	readonly kind: "answer";
	readonly route: string;
	readonly counters: TrafficCounters;
	readonly response: StaticResponse;
	/** Further field lines. */
	readonly lines: string;
}

export type Verdict = Target | Refusal | PolicyAnswer;

/** What is known of the client of a connection. */
export interface Client {
	/** Address without port; "" when it is already gone. */
	readonly address: string;
	/** Whether its x-forwarded-* are believed (RFC 7239 section 8.1: only from a known proxy). */
	readonly trusted: boolean;
	/** Whether it may ask for a decision trace. */
	readonly mayTrace: boolean;
	/** Its verified SPIFFE ID, "" where it has none. */
	readonly caller: string;
	/** Port of ours that it came to. */
	readonly port: number;
	/** The rules about it; undefined where anybody may do anything. */
	readonly rules: CallerRules | undefined;
	/** Lines that go with each of its requests. */
	readonly forwardedLines: string;
	/** `x-forwarded-proto` of what does not bring one that is believed. */
	readonly protoLine: string;
}

/** Ids of one exchange; taken from the request where it has them, else made. */
export interface Correlation {
	requestId: string;
	traceparent: string;
	/** Whether each try says its own traceparent, so that the head must not. */
	readonly spanned: boolean;
}

/** One direction of one policy version. Immutable: a reload builds another, requests in flight finish on theirs. */
export interface Stack {
	readonly direction: Direction;
	readonly limits: ListenerLimits;
	readonly policyVersion: number;
	/** Counts what was refused before a target was known. */
	readonly refused: TrafficCounters;
	/**
	 * How the client of a new connection is to be treated. `port`: of ours, where it arrived. `peer`: as its certificate has proven; undefined
	 * in plain text.
	 */
	meet(address: string, port: number, peer: VerifiedPeer | undefined): Client;
	/** The same request twice: as it came, and as rules see it. */
	decide(request: RequestParser, view: RequestView, client: Client, trace: DecisionLog | undefined): Verdict;
	/** Whether a connection that was upgraded under another policy may go on: the same rules over what is kept of its request. */
	decideAgain(view: RequestView, client: Client): Refusal | undefined;
	/** Head of the request to the upstream, latin1, without the empty line that ends it; fills `correlation`. */
	requestHead(request: RequestParser, target: Target, client: Client, correlation: Correlation): string;
}

/** One whose client may know all about it. */
export function refusal(reason: Reason, detail: string): Refusal {
	return { kind: "refusal", reason, detail, told: detail, because: undefined };
}
