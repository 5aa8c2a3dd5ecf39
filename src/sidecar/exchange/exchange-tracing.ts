/** Who may see why a request went as it did: taps, callers with a token, the ring of failures, and the maker of spans. */
import type { Clock } from "../../core/clock.ts";
import { TRACEPARENT, X_NEXUS_TRACE } from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldWriter } from "../../http1/serializer.ts";
import type { LimitSubject } from "../../limits/limit-key.ts";
import type { LimitSet } from "../../limits/limit-set.ts";
import { DecisionLog, type DecisionTrace } from "../../policy/decision-trace.ts";
import type { Snapshot } from "../../policy/snapshot.ts";
import type { ExchangeRecord } from "../../telemetry/access-record.ts";
import { compactTrace } from "../../telemetry/tracing/compact-trace.ts";
import type { OtelOptions } from "../../telemetry/tracing/otel.ts";
import type { ExchangeSpan, SpanSource } from "../../telemetry/tracing/span-source.ts";
import { TapHub } from "../../telemetry/tracing/tap-hub.ts";
import { FailureRing, isFailure, TraceStore } from "../../telemetry/tracing/trace-store.ts";
import { isTraceToken, TRACE_HEADER } from "../../telemetry/tracing/trace-tokens.ts";
import type { Client, Stack, Target } from "./stack.ts";

const traceLine = fieldWriter(TRACE_HEADER);

// An outage fails thousands of requests a second, all for one reason; as many as these tell it.
const FAILURES_PER_SECOND_MAX = 50;

/** The collector may be gone, and the process must not wait for it. */
const CLOSE_MS = 2000;

/** What spans say of this process. */
export type SpanMaker = Omit<OtelOptions, "otlpUrl" | "sample" | "limits">;

/** What an exchange holds for those who asked. */
export interface Asked {
	readonly trace: DecisionLog | undefined;
	/** Of the taps. */
	readonly wanted: number;
	readonly token: string | undefined;
	readonly span: ExchangeSpan | undefined;
}

export class ExchangeTracing {
	readonly tap: TapHub;
	readonly store = new TraceStore();
	readonly failures = new FailureRing();
	/** Only where tracing is configured. */
	spans: SpanSource | undefined;
	#spansFor: Snapshot["tracing"];
	readonly #service: string;
	readonly #clock: Clock;
	readonly #now: () => number;
	#windowMs = 0;
	#inWindow = 0;
	/** Traces made, ever. */
	collected = 0;

	constructor(clock: Clock, service: string) {
		this.#clock = clock;
		this.#service = service;
		this.#now = () => clock.monotonicMs();
		this.tap = new TapHub(clock);
	}

	/** Spans go where `tracing` says from now on; the SDK is loaded where it says anything, and only there. */
	async apply(tracing: Snapshot["tracing"], maker: SpanMaker): Promise<void> {
		if (tracing?.otlpUrl === this.#spansFor?.otlpUrl && tracing?.sample === this.#spansFor?.sample) return;
		const former = this.spans;
		this.#spansFor = tracing;
		this.spans = undefined;
		if (tracing !== undefined) {
			const { openOtelSpans } = await import("../../telemetry/tracing/otel.ts");
			this.spans = await openOtelSpans({ ...maker, ...tracing });
		}
		void former?.close(CLOSE_MS);
	}

	/** Sends what is left. */
	async close(): Promise<void> {
		await this.spans?.close(CLOSE_MS);
	}

	/** All that a request costs where nobody looks. */
	mayBeWanted(request: RequestParser): boolean {
		return this.tap.active || this.spans !== undefined || request.meaning.has(X_NEXUS_TRACE);
	}

	begin(request: RequestParser, client: Client, stack: Stack, startedMs: number): Asked {
		const { fields, meaning } = request;
		const header = (name: string): string | undefined => fields.get(name);
		const wanted = this.tap.active ? this.tap.wants(request.method, request.authority, header) : 0;
		const given = client.mayTrace && meaning.has(X_NEXUS_TRACE) ? fields.first(X_NEXUS_TRACE) : undefined;
		const token = given !== undefined && isTraceToken(given) ? given : undefined;
		const span = this.spans?.begin({
			traceparent: meaning.has(TRACEPARENT) ? (fields.first(TRACEPARENT) ?? "") : "",
			tracestate: header("tracestate") ?? "",
			baggage: header("baggage") ?? "",
			method: request.method,
			target: request.target,
			host: request.authority,
			direction: stack.direction,
			startWallMs: this.#clock.wallMs(),
			service: this.#service,
		});
		const trace = wanted !== 0 || token !== undefined || span !== undefined ? new DecisionLog(this.#now, startedMs) : undefined;
		trace?.add(
			"caller",
			"note",
			`${stack.direction} from ${client.address === "" ? "a client that is gone" : client.address}${identityText(client)}`,
		);
		return { trace, wanted, token, span };
	}

	/** A log for a request that has just gone wrong; undefined where there are more of them than anybody would read. */
	ofFailure(startedMs: number, target: Target | undefined): DecisionLog | undefined {
		const nowMs = this.#now();
		if (nowMs - this.#windowMs >= 1000) {
			this.#windowMs = nowMs;
			this.#inWindow = 0;
		}
		if (++this.#inWindow > FAILURES_PER_SECOND_MAX) return undefined;
		const trace = new DecisionLog(this.#now, startedMs);
		if (target !== undefined) {
			const by = target.route === "" ? "by its host" : `by route ${target.route}`;
			trace.add("route", "yes", `to upstream ${target.upstream.name} ${by}`, target.place, { brief: target.upstream.name });
		}
		return trace;
	}

	/** Before a token is taken. */
	tellLimits(trace: DecisionLog, limits: LimitSet, subject: LimitSubject): void {
		for (const { text, place, data, admits } of limits.explain(subject, this.#now())) trace.add("limit", admits ? "yes" : "note", text, place, data);
	}

	compactLine(trace: DecisionLog): string {
		return traceLine(compactTrace(trace.decisions));
	}

	/** The exchange is over; `record` is valid only during the call. */
	finish(record: ExchangeRecord, stack: Stack, startedMs: number, { trace, wanted, token, span }: Asked): void {
		span?.end(record, trace?.decisions ?? []);
		if (trace === undefined) return;
		this.collected++;
		const told = this.#traceOf(record, stack, startedMs, trace);
		if (wanted !== 0) this.tap.publish(told, wanted);
		if (token !== undefined) this.store.put(token, told);
		if (isFailure(told.status, told.reason)) this.failures.offer(told);
	}

	#traceOf(record: ExchangeRecord, stack: Stack, startedMs: number, { decisions }: DecisionLog): DecisionTrace {
		const { method, host, target, route, upstream, endpoint, status, reason, detail, attempts, durationMs } = record;
		const agoMs = this.#now() - startedMs;
		return {
			id: record.requestId,
			time: new Date(this.#clock.wallMs() - agoMs).toISOString(),
			direction: record.direction,
			method,
			host,
			target,
			route,
			upstream,
			endpoint,
			status,
			reason,
			detail,
			attempts,
			durationMs: Math.round(durationMs * 1000) / 1000,
			policyVersion: stack.policyVersion,
			decisions,
		};
	}
}

function identityText({ caller }: Client): string {
	return caller === "" ? "" : `, who is ${caller}`;
}
