/** The admin API of a sidecar (DESIGN 7.3): which path does what. What it shows comes through `AdminView`. */
import type { Clock } from "../../core/clock.ts";
import { explainRequest } from "../../identity/authorization/explain-request.ts";
import { placeText } from "../../policy/explain.ts";
import { explainJson, readExplainedRequest } from "../../policy/explained-request.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import { nexusFile } from "../../policy/layers.ts";
import type { Snapshot } from "../../policy/snapshot.ts";
import { sendJson, sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";
import { EXPOSITION_CONTENT_TYPE } from "../../telemetry/exposition.ts";
import { LOG_LEVELS } from "../../telemetry/log.ts";
import { redact } from "../../telemetry/redact.ts";
import { badQuery, isoTime } from "./answers.ts";
import { authorizationEndpoints } from "./authorization-calls.ts";
import { faultEndpoints, listed } from "./fault-calls.ts";
import { identityEndpoints } from "./identity-calls.ts";
import { type Call, Router } from "./router.ts";
import { Streams } from "./streams.ts";
import { traceEndpoints } from "./trace-calls.ts";
import { upstreamEndpoints } from "./upstream-calls.ts";
import type { AdminView, RunningPolicy } from "./view.ts";

export interface AdminApiOptions {
	readonly view: AdminView;
	readonly clock: Clock;
}

export class AdminApi {
	readonly #view: AdminView;
	readonly #streams: Streams;
	readonly #router: Router;

	constructor({ view, clock }: AdminApiOptions) {
		this.#view = view;
		this.#streams = new Streams(clock);
		this.#router = new Router([
			{ method: "GET", path: "/livez", summary: "200 while the process lives", run: ({ res }) => sendJson(res, 200, { alive: true }) },
			{
				method: "GET",
				path: "/readyz",
				summary: "200 when ready for traffic, 503 with the reasons before that and while draining",
				run: (c) => this.#readyz(c),
			},
			{ method: "GET", path: "/metrics", summary: "Prometheus text format", run: (c) => this.#metrics(c) },
			{
				method: "GET",
				path: "/config",
				summary: "the running policy, the faults in force, and what was wrong with the last policy that was rejected",
				run: (c) => this.#config(c),
			},
			...upstreamEndpoints(view),
			...identityEndpoints(view, clock),
			...authorizationEndpoints(view),
			{
				method: "GET",
				path: "/explain",
				summary: "why a request goes where it goes: ?url= &method= &header= &from= &direction=",
				run: (c) => this.#explain(c),
			},
			...traceEndpoints(view, this.#streams),
			...faultEndpoints(view, clock),
			{ method: "GET", path: "/events", summary: "events of this sidecar as they happen (server-sent events)", run: (c) => this.#events(c) },
			{ method: "POST", path: "/drain", summary: "stop accepting and finish what runs", run: (c) => this.#drain(c) },
			{ method: "POST", path: "/reload", summary: "read the policy file again", run: (c) => this.#reload(c) },
			{ method: "POST", path: "/loglevel", summary: `?level=${LOG_LEVELS.join("|")}`, run: (c) => this.#loglevel(c) },
		]);
	}

	/** Handler for `startHttpServer`. */
	handle(req: ServerRequest, res: ServerResponse): void | Promise<void> {
		return this.#router.handle(req, res);
	}

	/** Ends the event streams, which would hold up the closing of the server. */
	closeStreams(): void {
		this.#streams.closeAll();
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
		const { snapshot, appliedAtMs, rejected, reloads, nexus } = this.#view.policy();
		const { version, hash, file, ...policy } = snapshot;
		sendJson(res, 200, {
			version,
			hash,
			file,
			...(nexus === undefined ? {} : { nexus: sourceJson(nexus, snapshot) }),
			appliedAt: isoTime(appliedAtMs),
			reloads,
			rejected: rejected === undefined ? null : { at: isoTime(rejected.atMs), faults: rejected.faults.map(faultJson) },
			...listed(this.#view.faults.list()),
			policy: redact(policy),
		});
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
		const trace = explainRequest(this.#view.policy().snapshot, request);
		const { outcome } = trace;
		if (outcome === undefined) return `the policy has no ${direction} section, so no listener takes this request`;
		const name = outcome.kind === "upstream" ? outcome.upstream.name : undefined;
		return { ...explainJson(request, trace), ...(name === undefined ? {} : this.#live(name)) };
	}

	/** What the policy alone cannot say: how the upstream is just now. */
	#live(name: string): Record<string, unknown> {
		const upstream = this.#view.upstreams().find((one) => one.name === name);
		if (upstream === undefined) return {};
		const { endpoints, breakers, concurrency, panic, retryBudget } = upstream;
		const inForce = this.#view.faults.list().filter((fault) => fault.upstream === name);
		return { endpoints, live: { breakers, concurrency, panic, retryBudget, ...listed(inForce) } };
	}

	#events(call: Call): void {
		const stream = this.#streams.open(call);
		if (stream === undefined) return;
		stream.onClose(this.#view.subscribeEvents((event) => void stream.send({ id: event.id, event: event.type, data: JSON.stringify(event) })));
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

/** `file` as in the places of the values that come from there. */
function sourceJson(
	{ version, author, reason, sinceMs }: NonNullable<RunningPolicy["nexus"]>,
	{ service, policy }: Snapshot,
): Record<string, unknown> {
	return { file: nexusFile(service, version), version, author, reason, since: isoTime(sinceMs), wins: policy?.merge };
}

function faultJson({ place, path, message, hint }: PolicyFault): Record<string, string> {
	return { place: placeText(place), path, message, hint };
}
