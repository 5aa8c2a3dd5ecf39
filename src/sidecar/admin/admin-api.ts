/** The admin API of a sidecar (DESIGN 7.3): which path does what. What it shows comes through `AdminView`. */
import type { Clock } from "../../core/clock.ts";
import { explainRouting, placeText } from "../../policy/explain.ts";
import { explainJson, readExplainedRequest } from "../../policy/explained-request.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import { type Problem, sendJson, sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";
import { SseStream } from "../../server/sse.ts";
import { EXPOSITION_CONTENT_TYPE } from "../../telemetry/exposition.ts";
import { LOG_LEVELS } from "../../telemetry/log.ts";
import { redact } from "../../telemetry/redact.ts";
import type { AdminView } from "./view.ts";

interface Call {
	readonly req: ServerRequest;
	readonly res: ServerResponse;
	readonly query: URLSearchParams;
}

interface AdminEndpoint {
	/** GET answers HEAD as well. */
	readonly method: "GET" | "POST";
	readonly summary: string;
	readonly run: (call: Call) => void | Promise<void>;
}

export interface AdminApiOptions {
	readonly view: AdminView;
	readonly clock: Clock;
}

// Each holds up to 1 MiB for a slow reader; people and one collector look at a sidecar, not a crowd.
const STREAMS_MAX = 16;

export class AdminApi {
	readonly #view: AdminView;
	readonly #clock: Clock;
	readonly #streams = new Set<SseStream>();
	readonly #endpoints = new Map<string, AdminEndpoint>([
		["/livez", { method: "GET", summary: "200 while the process lives", run: ({ res }) => sendJson(res, 200, { alive: true }) }],
		[
			"/readyz",
			{ method: "GET", summary: "200 when ready for traffic, 503 with the reasons before that and while draining", run: (c) => this.#readyz(c) },
		],
		["/metrics", { method: "GET", summary: "Prometheus text format", run: (c) => this.#metrics(c) }],
		["/config", { method: "GET", summary: "the running policy, and the faults of the last one that was rejected", run: (c) => this.#config(c) }],
		["/upstreams", { method: "GET", summary: "each endpoint with health, load and pool", run: (c) => this.#upstreams(c) }],
		[
			"/explain",
			{ method: "GET", summary: "why a request goes where it goes: ?url= &method= &header= &from= &direction=", run: (c) => this.#explain(c) },
		],
		["/events", { method: "GET", summary: "events of this sidecar as they happen (server-sent events)", run: (c) => this.#events(c) }],
		["/drain", { method: "POST", summary: "stop accepting and finish what runs", run: (c) => this.#drain(c) }],
		["/reload", { method: "POST", summary: "read the policy file again", run: (c) => this.#reload(c) }],
		["/loglevel", { method: "POST", summary: `?level=${LOG_LEVELS.join("|")}`, run: (c) => this.#loglevel(c) }],
	]);

	constructor(options: AdminApiOptions) {
		this.#view = options.view;
		this.#clock = options.clock;
	}

	/** Handler for `startHttpServer`. */
	handle(req: ServerRequest, res: ServerResponse): void | Promise<void> {
		const [path = "", query = ""] = split(req.url);
		const endpoint = this.#endpoints.get(path);
		if (endpoint === undefined) return sendProblem(res, this.#unknown(path));
		const method = req.method === "HEAD" ? "GET" : req.method;
		if (method !== endpoint.method) {
			const allow = endpoint.method === "GET" ? "GET, HEAD" : endpoint.method;
			const title = `${path} takes ${allow} only.`;
			return sendProblem(res, { status: 405, title, reason: "method_not_allowed" }, { allow });
		}
		return endpoint.run({ req, res, query: new URLSearchParams(query) });
	}

	/** Ends the event streams, which would hold up the closing of the server. */
	closeStreams(): void {
		for (const stream of this.#streams) stream.close();
	}

	#unknown(path: string): Problem {
		const list = Array.from(this.#endpoints, ([known, { method, summary }]) => `${method} ${known}: ${summary}`);
		return { status: 404, title: `There is no ${JSON.stringify(path)} here.`, reason: "not_found", detail: list.join("; ") };
	}

	#readyz({ res }: Call): void {
		const readiness = this.#view.readiness();
		sendJson(res, readiness.ready ? 200 : 503, readiness);
	}

	async #metrics({ res }: Call): Promise<void> {
		const text = await this.#view.metricsText();
		res.writeHead(200, { "content-type": EXPOSITION_CONTENT_TYPE }).end(text);
	}

	#config({ res }: Call): void {
		const { snapshot, appliedAtMs, rejected, reloads } = this.#view.policy();
		const { version, hash, file, ...policy } = snapshot;
		sendJson(res, 200, {
			version,
			hash,
			file,
			appliedAt: isoTime(appliedAtMs),
			reloads,
			rejected: rejected === undefined ? null : { at: isoTime(rejected.atMs), faults: rejected.faults.map(faultJson) },
			policy: redact(policy),
		});
	}

	#upstreams({ res }: Call): void {
		sendJson(res, 200, { upstreams: this.#view.upstreams(), listeners: this.#view.listeners() });
	}

	#explain({ res, query }: Call): void {
		const answer = this.#explained(query);
		if (typeof answer === "string") sendProblem(res, badQuery(answer));
		else sendJson(res, 200, answer);
	}

	/** A sentence says what is wrong with the query. */
	#explained(query: URLSearchParams): Record<string, unknown> | string {
		const direction = query.get("direction") ?? "outbound";
		if (direction !== "inbound" && direction !== "outbound") return "direction is inbound or outbound";
		const url = query.get("url");
		if (url === null) return "url is missing: http://HOST/PATH, or a path together with header=Host:NAME";
		const from = query.get("from") ?? undefined;
		const request = readExplainedRequest({ direction, method: query.get("method") ?? "GET", url, header: query.getAll("header"), from });
		if (typeof request === "string") return request;
		const trace = explainRouting(this.#view.policy().snapshot, request);
		const { outcome } = trace;
		if (outcome === undefined) return `the policy has no ${direction} section, so no listener takes this request`;
		const name = outcome.kind === "upstream" ? outcome.upstream.name : undefined;
		const endpoints = this.#view.upstreams().find((upstream) => upstream.name === name)?.endpoints;
		return { ...explainJson(request, trace), endpoints };
	}

	#events({ req, res }: Call): void {
		if (req.method === "HEAD") {
			res.writeHead(200, { "content-type": "text/event-stream" }).end();
			return;
		}
		if (this.#streams.size >= STREAMS_MAX) {
			const title = `There are ${STREAMS_MAX} event streams already.`;
			sendProblem(res, { status: 503, title, reason: "stream_limit" }, { "retry-after": "10" });
			return;
		}
		const stream = SseStream.open(res, { clock: this.#clock });
		this.#streams.add(stream);
		const unsubscribe = this.#view.subscribeEvents((event) => void stream.send({ id: event.id, event: event.type, data: JSON.stringify(event) }));
		stream.onClose(() => {
			this.#streams.delete(stream);
			unsubscribe();
		});
	}

	#drain({ res }: Call): void {
		this.#view.drain();
		sendJson(res, 202, { draining: true });
	}

	async #reload({ res }: Call): Promise<void> {
		const { kind, ...result } = await this.#view.reload();
		if ("faults" in result) sendJson(res, 422, { result: kind, faults: result.faults.map(faultJson) });
		else sendJson(res, 200, { result: kind, ...result });
	}

	#loglevel({ res, query }: Call): void {
		const level = LOG_LEVELS.find((known) => known === query.get("level"));
		if (level === undefined) {
			sendProblem(res, badQuery(`level is one of ${LOG_LEVELS.join(", ")}`));
			return;
		}
		this.#view.setLogLevel(level);
		sendJson(res, 200, { level });
	}
}

/** Path and query of a request target; anything but origin form has no path here. */
function split(target: string): [path: string, query: string] {
	const at = target.indexOf("?");
	return at === -1 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function badQuery(detail: string): Problem {
	return { status: 400, title: "The query is wrong.", detail, reason: "bad_request" };
}

function faultJson({ place, path, message, hint }: PolicyFault): Record<string, string> {
	return { place: placeText(place), path, message, hint };
}

function isoTime(wallMs: number): string {
	return new Date(wallMs).toISOString();
}
