/** Decision traces in the admin API: live (`/tap`), of requests that failed (`/failures`), of one that asked for it (`/traces/ID`). */
import type { DecisionTrace } from "../../policy/decision-trace.ts";
import { sendJson, sendProblem } from "../../server/problem.ts";
import type { SseStream } from "../../server/sse.ts";
import { parseTapQuery } from "../../telemetry/tracing/tap-filter.ts";
import { badQuery } from "./answers.ts";
import type { AdminEndpoint, Call } from "./router.ts";
import type { Streams } from "./streams.ts";
import type { AdminView } from "./view.ts";

// Beyond it nobody counts; without `limit` a tap goes on until it is closed.
const LIMIT_MAX = 1_000_000;

export function traceEndpoints(view: AdminView, streams: Streams): readonly AdminEndpoint[] {
	return [
		{
			method: "GET",
			path: "/tap",
			summary:
				"decision traces as they happen (server-sent events): ?route= &upstream= &status=503|5xx &reason= &method= &host= &header=name:value &min-duration=100ms &rate=10 (per second) &limit=N",
			run: (call) => tap(view, streams, call),
		},
		{
			method: "GET",
			path: "/failures",
			summary: "decision traces of the last requests that failed, newest first",
			run: (call) => failures(view, call),
		},
		{
			method: "GET",
			path: "/traces/NAME",
			summary: "the decision trace of a request that was sent with x-nexus-trace, by its id",
			run: (call) => trace(view, call),
		},
	];
}

function tap(view: AdminView, streams: Streams, call: Call): void {
	const request = parseTapQuery(filtersOf(call.query));
	const limit = parseLimit(call.query);
	const wrong = typeof request === "string" ? request : limit;
	if (typeof request === "string" || typeof limit === "string") {
		sendProblem(call.res, badQuery(String(wrong)));
		return;
	}
	const stream = streams.open(call);
	if (stream === undefined) return;
	const reader = new TapReader(stream, limit);
	const stop = view.tap.subscribe(request, (taken, droppedBefore) => reader.take(taken, droppedBefore));
	if (stop === undefined) stream.close();
	else stream.onClose(stop);
}

/** What is said about traces; how many of them is a matter of the stream. */
function filtersOf(query: URLSearchParams): URLSearchParams {
	const filters = new URLSearchParams();
	for (const [key, value] of query) if (key !== "limit") filters.append(key === "min-duration" ? "minDuration" : key, value);
	return filters;
}

/** Undefined: no end. A string says what is wrong. */
function parseLimit(query: URLSearchParams): number | undefined | string {
	const text = query.get("limit") || undefined;
	if (text === undefined) return undefined;
	const limit = /^\d{1,7}$/.test(text) ? Number(text) : 0;
	return limit >= 1 && limit <= LIMIT_MAX ? limit : `limit is ${JSON.stringify(text)}, and goes from 1 to ${LIMIT_MAX}`;
}

/** One reader of `/tap`: what it is too slow for is left out and counted, so that it neither holds memory nor is cut off. */
class TapReader {
	readonly #stream: SseStream;
	#left: number;
	#dropped = 0;

	constructor(stream: SseStream, limit = Number.POSITIVE_INFINITY) {
		this.#stream = stream;
		this.#left = limit;
	}

	take(trace: DecisionTrace, droppedBefore: number): void {
		this.#dropped += droppedBefore;
		if (!this.#stream.isReady) {
			this.#dropped++;
			return;
		}
		if (this.#dropped > 0) {
			this.#stream.send({ event: "dropped", data: JSON.stringify({ dropped: this.#dropped }) });
			this.#dropped = 0;
		}
		this.#stream.send({ event: "trace", id: trace.id, data: JSON.stringify(trace) });
		this.#left--;
		if (this.#left === 0) this.#stream.close();
	}
}

function failures(view: AdminView, { res, query }: Call): void {
	const limit = parseLimit(query);
	if (typeof limit === "string") sendProblem(res, badQuery(limit));
	else sendJson(res, 200, { failures: view.failures().slice(0, limit) });
}

function trace(view: AdminView, { res, name }: Call): void {
	const found = view.trace(name);
	if (found !== undefined) {
		sendJson(res, 200, found);
		return;
	}
	const title = `No trace ${JSON.stringify(name)} is kept.`;
	const hint = "A request sent with `x-nexus-trace: TOKEN` from an allowed address is kept for a while.";
	sendProblem(res, { status: 404, title, hint, reason: "not_found" });
}
