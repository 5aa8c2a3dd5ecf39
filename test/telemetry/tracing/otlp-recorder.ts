/** A collector's OTLP/HTTP endpoint (JSON) that keeps what it is sent. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface RecordedSpan {
	readonly traceId: string;
	readonly spanId: string;
	readonly parentSpanId: string | undefined;
	readonly traceState: string | undefined;
	readonly name: string;
	/** 2 server, 3 client. */
	readonly kind: number;
	readonly startMs: number;
	readonly endMs: number;
	/** 0 unset, 2 error. */
	readonly status: number;
	readonly attributes: Readonly<Record<string, unknown>>;
	readonly resource: Readonly<Record<string, unknown>>;
}

export interface OtlpRecorder {
	readonly url: string;
	readonly spans: RecordedSpan[];
	/** Resolves once so many have come. */
	received(count: number): Promise<RecordedSpan[]>;
	/** Resolves once a request has come that is given no answer. */
	readonly hanging: Promise<void>;
	/** Status of the answers from now on; 0: none is given. */
	answer: number;
}

type Value = { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean; arrayValue?: { values: Value[] } };
type Pairs = { key: string; value: Value }[];
interface Span {
	traceId: string;
	spanId: string;
	parentSpanId?: string;
	traceState?: string;
	name: string;
	kind: number;
	startTimeUnixNano: string;
	endTimeUnixNano: string;
	status: { code: number };
	attributes: Pairs;
}
interface Payload {
	resourceSpans: { resource: { attributes: Pairs }; scopeSpans: { spans: Span[] }[] }[];
}

export async function recordOtlp(t: TestContext): Promise<OtlpRecorder> {
	const spans: RecordedSpan[] = [];
	const waiting: { count: number; resolve: (spans: RecordedSpan[]) => void }[] = [];
	const hung: ServerResponse[] = [];
	const hanging = Promise.withResolvers<void>();
	const server = createServer((request, response) => {
		const chunks: Buffer[] = [];
		request.on("data", (chunk: Buffer) => chunks.push(chunk));
		request.on("end", () => {
			if (recorder.answer === 0) {
				hung.push(response);
				hanging.resolve();
				return;
			}
			if (recorder.answer === 200) {
				assert.equal(request.url, "/v1/traces");
				spans.push(...readPayload(JSON.parse(Buffer.concat(chunks).toString())));
			}
			response.writeHead(recorder.answer, { "content-type": "application/json", connection: "close" }).end("{}");
			for (const { count, resolve } of waiting) if (spans.length >= count) resolve(spans);
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		// Refused rather than cut, which the exporter would take for a reason to try again for seconds.
		for (const response of hung) response.writeHead(400, { connection: "close" }).end();
		return new Promise<void>((resolve) => server.close(() => resolve()));
	});
	const recorder: OtlpRecorder = {
		url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		spans,
		hanging: hanging.promise,
		answer: 200,
		received: (count) =>
			new Promise((resolve) => {
				if (spans.length >= count) resolve(spans);
				else waiting.push({ count, resolve });
			}),
	};
	return recorder;
}

function readPayload({ resourceSpans }: Payload): RecordedSpan[] {
	return resourceSpans.flatMap(({ resource, scopeSpans }) =>
		scopeSpans.flatMap(({ spans }) =>
			spans.map((span) => ({
				traceId: span.traceId,
				spanId: span.spanId,
				parentSpanId: span.parentSpanId,
				traceState: span.traceState,
				name: span.name,
				kind: span.kind,
				startMs: readMs(span.startTimeUnixNano),
				endMs: readMs(span.endTimeUnixNano),
				status: span.status.code,
				attributes: readPairs(span.attributes),
				resource: readPairs(resource.attributes),
			})),
		),
	);
}

/** To the microsecond: more than that a double does not hold of a wall time. */
function readMs(nano: string): number {
	return Math.round(Number(nano) / 1e3) / 1e3;
}

function readPairs(pairs: Pairs): Record<string, unknown> {
	return Object.fromEntries(pairs.map(({ key, value }) => [key, readValue(value)]));
}

function readValue({ stringValue, intValue, doubleValue, boolValue, arrayValue }: Value): unknown {
	if (arrayValue !== undefined) return arrayValue.values.map(readValue);
	return stringValue ?? (intValue === undefined ? undefined : Number(intValue)) ?? doubleValue ?? boolValue;
}
