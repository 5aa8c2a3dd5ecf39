/** Spans by the OpenTelemetry SDK, sent as OTLP over HTTP. The SDK is loaded by `openOtelSpans` and by nothing else. */
import type { Context, HrTime, Span, SpanKind, Tracer } from "@opentelemetry/api";
import type { TracerProvider } from "@opentelemetry/sdk-trace";
import type { Clock } from "../../core/clock.ts";
import type { IdSource } from "../../core/ids.ts";
import type { Logger } from "../../core/log.ts";
import type { Reason } from "../../core/reasons.ts";
import type { Rng } from "../../core/rng.ts";
import type { Decision } from "../../policy/decision-trace.ts";
import type { ExchangeRecord } from "../access-record.ts";
import {
	attemptAttributes,
	attemptEndAttributes,
	endAttributes,
	isError,
	type SpanAttributes,
	spanName,
	startAttributes,
} from "./span-attributes.ts";
import { SpanDelivery } from "./span-delivery.ts";
import type { AttemptSpan, ExchangeSpan, SpanSource, SpanStart, SpanStats } from "./span-source.ts";
import { parseTraceparent, sampledTraceparent, type TraceParent } from "./trace-context.ts";

export interface OtelOptions {
	/** Base of the collector: `http://127.0.0.1:4318`; `/v1/traces` is added. */
	readonly otlpUrl: string;
	/** 0..1 of the requests that come without a trace. */
	readonly sample: number;
	/** `service.name`, `service.instance.id` and `service.version` of the resource. */
	readonly service: string;
	readonly instance: string;
	readonly version: string;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly ids: IdSource;
	readonly log: Logger;
	readonly limits?: Partial<OtelLimits>;
}

export interface OtelLimits {
	/** Spans that wait or are on their way; while there are as many, no further ones are made. */
	readonly waitingMax: number;
	readonly batchMax: number;
	/** Longest wait for a batch to fill. */
	readonly delayMs: number;
	readonly exportTimeoutMs: number;
}

const LIMITS: OtelLimits = Object.freeze({
	// The SDK's own; about 5 MB with the decisions of ordinary requests.
	waitingMax: 2048,
	// The SDK takes 512, whose text takes 2.7 ms to make: a pause for the requests beside it. That of 128 takes 0.55 ms.
	batchMax: 128,
	delayMs: 5000,
	// A collector next door answers in milliseconds; one that takes longer is down, and its batch is worth no wait.
	exportTimeoutMs: 5000,
});

// Of the SDK's enumerations, which are values and would have to be loaded.
const SERVER: SpanKind = 1;
const CLIENT: SpanKind = 2;
const ERROR = 2;
const SAMPLED = 1;

type Api = typeof import("@opentelemetry/api");

/** Loads the SDK (80 ms, 30 MB). Does not connect: a collector that is away is told by the log when spans are to be sent. */
export async function openOtelSpans(options: OtelOptions): Promise<SpanSource> {
	const [api, { AlwaysOnSampler, BatchSpanProcessor, TracerProvider }, { defaultResource, resourceFromAttributes }, { OTLPTraceExporter }] =
		await Promise.all([
			import("@opentelemetry/api"),
			import("@opentelemetry/sdk-trace"),
			import("@opentelemetry/resources"),
			import("@opentelemetry/exporter-trace-otlp-http"),
		]);
	const limits = { ...LIMITS, ...options.limits };
	const { service, instance, version, clock, log, ids } = options;
	const url = `${options.otlpUrl.replace(/\/$/, "")}/v1/traces`;
	const exporter = new OTLPTraceExporter({ url, timeoutMillis: limits.exportTimeoutMs });
	const delivery = new SpanDelivery({ exporter, clock, log, url, timeoutMs: limits.exportTimeoutMs * 2, waitingMax: limits.waitingMax });
	const batches = new BatchSpanProcessor({
		exporter: delivery,
		maxQueueSize: limits.waitingMax,
		maxExportBatchSize: Math.min(limits.batchMax, limits.waitingMax),
		scheduledDelayMillis: limits.delayMs,
		// Later than the delivery gives up, which then has the word.
		exportTimeoutMillis: limits.exportTimeoutMs * 3,
	});
	const provider = new TracerProvider({
		resource: defaultResource().merge(
			resourceFromAttributes({ "service.name": service, "service.instance.id": instance, "service.version": version }),
		),
		// Who is sampled is decided before the SDK hears of it.
		sampler: new AlwaysOnSampler(),
		idGenerator: { generateTraceId: () => ids.hex(32), generateSpanId: () => ids.hex(16) },
		spanProcessors: [batches],
	});
	return new OtelSpans(options, api, provider, delivery);
}

/** What the spans of one source share. */
interface Shared {
	readonly api: Api;
	readonly tracer: Tracer;
	readonly clock: Clock;
	readonly delivery: SpanDelivery;
}

class OtelSpans implements SpanSource {
	readonly #sample: number;
	readonly #rng: Rng;
	readonly #shared: Shared;
	readonly #provider: TracerProvider;
	#refused = 0;
	#closed: Promise<void> | undefined;

	constructor({ sample, rng, clock, version }: OtelOptions, api: Api, provider: TracerProvider, delivery: SpanDelivery) {
		this.#sample = sample;
		this.#rng = rng;
		this.#provider = provider;
		this.#shared = { api, tracer: provider.getTracer("nexus-mesh", version), clock, delivery };
	}

	get stats(): SpanStats {
		const { ended, dropped } = this.#shared.delivery;
		return { ended, dropped: dropped + this.#refused };
	}

	begin(start: SpanStart): ExchangeSpan | undefined {
		const parent = start.traceparent === "" ? undefined : parseTraceparent(start.traceparent);
		if (parent === undefined ? this.#rng() >= this.#sample : !parent.sampled) return undefined;
		if (this.#shared.delivery.isFull) {
			this.#refused++;
			return undefined;
		}
		return new OtelExchange(this.#shared, start, parent);
	}

	close(timeoutMs: number): Promise<void> {
		this.#closed ??= this.#close(timeoutMs);
		return this.#closed;
	}

	async #close(timeoutMs: number): Promise<void> {
		const { clock, delivery } = this.#shared;
		delivery.close();
		const timeout = Promise.withResolvers<void>();
		const timer = clock.setTimer(timeoutMs, timeout.resolve);
		// Its only cause to reject is a batch that was not taken, which the delivery has counted and told.
		const sent = this.#provider.shutdown().catch(() => undefined);
		await Promise.race([sent, timeout.promise]);
		timer.cancel();
		delivery.abandon();
	}
}

class OtelExchange implements ExchangeSpan {
	readonly traceparent: string;
	readonly #shared: Shared;
	readonly #start: SpanStart;
	readonly #startMonotonicMs: number;
	readonly #random: boolean;
	readonly #span: Span;
	readonly #attempts: OtelAttempt[] = [];

	constructor(shared: Shared, start: SpanStart, parent: TraceParent | undefined) {
		this.#shared = shared;
		this.#start = start;
		this.#startMonotonicMs = shared.clock.monotonicMs();
		// A trace that begins here has an id that is random throughout.
		this.#random = parent?.random ?? true;
		const options = { kind: SERVER, attributes: startAttributes(start), startTime: hrTime(start.startWallMs) };
		this.#span = shared.tracer.startSpan(spanName(start.method, ""), options, parentContext(shared.api, parent, start.tracestate));
		this.traceparent = traceparentOf(this.#span, this.#random);
	}

	attempt(n: number, endpoint: string): AttemptSpan {
		const { api, tracer } = this.#shared;
		const options = { kind: CLIENT, attributes: attemptAttributes(this.#start, n, endpoint), startTime: this.#now() };
		const span = tracer.startSpan(spanName(this.#start.method, ""), options, api.trace.setSpan(api.ROOT_CONTEXT, this.#span));
		const attempt = new OtelAttempt(this.#shared, span, traceparentOf(span, this.#random), () => this.#now());
		this.#attempts.push(attempt);
		return attempt;
	}

	end(record: ExchangeRecord, decisions: readonly Decision[]): void {
		for (const attempt of this.#attempts) attempt.close();
		if (record.route !== "") this.#span.updateName(spanName(record.method, record.route));
		finish(
			this.#shared,
			this.#span,
			endAttributes(record, decisions),
			isError(record.status, "server"),
			hrTime(this.#start.startWallMs + record.durationMs),
		);
	}

	/** Wall time that does not jump within an exchange. */
	#now(): HrTime {
		return hrTime(this.#start.startWallMs + this.#shared.clock.monotonicMs() - this.#startMonotonicMs);
	}
}

class OtelAttempt implements AttemptSpan {
	readonly traceparent: string;
	readonly #shared: Shared;
	readonly #span: Span;
	readonly #now: () => HrTime;
	#ended = false;

	constructor(shared: Shared, span: Span, traceparent: string, now: () => HrTime) {
		this.#shared = shared;
		this.#span = span;
		this.traceparent = traceparent;
		this.#now = now;
	}

	end(status: number, reason: Reason | undefined, detail: string): void {
		if (this.#ended) return;
		this.#ended = true;
		finish(this.#shared, this.#span, attemptEndAttributes(status, reason, detail), reason !== undefined || isError(status, "client"), this.#now());
	}

	/** Without an outcome of its own: the other one of a hedge has won, or the client has gone. */
	close(): void {
		if (this.#ended) return;
		this.#ended = true;
		finish(this.#shared, this.#span, { "nexus.cancelled": true }, false, this.#now());
	}
}

function finish({ delivery }: Shared, span: Span, attributes: SpanAttributes, failed: boolean, time: HrTime): void {
	span.setAttributes(attributes);
	if (failed) span.setStatus({ code: ERROR });
	if (delivery.admit()) span.end(time);
}

function parentContext({ ROOT_CONTEXT, trace, createTraceState }: Api, parent: TraceParent | undefined, tracestate: string): Context {
	if (parent === undefined) return ROOT_CONTEXT;
	const { traceId, spanId } = parent;
	const context = { traceId, spanId, traceFlags: SAMPLED, isRemote: true };
	return trace.setSpanContext(ROOT_CONTEXT, tracestate === "" ? context : { ...context, traceState: createTraceState(tracestate) });
}

function traceparentOf(span: Span, random: boolean): string {
	const { traceId, spanId } = span.spanContext();
	return sampledTraceparent(traceId, spanId, random);
}

/** Seconds and nanoseconds: the SDK would take a small number for one of the monotonic clock. */
function hrTime(wallMs: number): HrTime {
	const seconds = Math.floor(wallMs / 1000);
	return [seconds, Math.round((wallMs - seconds * 1000) * 1e6)];
}
