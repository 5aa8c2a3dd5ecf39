/** `/upstreams` and `/limits` of the admin API: what guards the services that are called, and breakers moved by hand. */
import { sendJson, sendProblem } from "../../server/problem.ts";
import { badQuery } from "./answers.ts";
import type { AdminEndpoint, Call } from "./router.ts";
import type { AdminView, BreakerMode } from "./view.ts";

const MODES: readonly BreakerMode[] = ["open", "closed", "auto"];

export function upstreamEndpoints(view: AdminView): readonly AdminEndpoint[] {
	return [
		{
			method: "GET",
			path: "/upstreams",
			summary: "each upstream with its endpoints: health, load, pool, ejection; breakers, concurrency, retry budget",
			run: ({ res }) => sendJson(res, 200, { upstreams: view.upstreams(), listeners: view.listeners() }),
		},
		{ method: "GET", path: "/upstreams/NAME", summary: "one of them", run: (call) => show(view, call) },
		{
			method: "POST",
			path: "/upstreams/NAME/breaker",
			summary: `?state=${MODES.join("|")} holds its circuit breakers so until auto; &key= one endpoint or route`,
			run: (call) => force(view, call),
		},
		{
			method: "GET",
			path: "/limits",
			summary: "each rate limit and what it has judged",
			run: ({ res }) => sendJson(res, 200, { limits: view.limits() }),
		},
	];
}

function show(view: AdminView, { res, name }: Call): void {
	const upstream = view.upstreams().find((one) => one.name === name);
	if (upstream === undefined) unknown(res, name);
	else sendJson(res, 200, upstream);
}

function force(view: AdminView, { res, name, query }: Call): void {
	const mode = MODES.find((known) => known === query.get("state"));
	if (mode === undefined) {
		sendProblem(res, badQuery(`state is one of ${MODES.join(", ")}`));
		return;
	}
	const key = query.get("key") ?? undefined;
	const result = view.forceBreaker(name, mode, key);
	if (result === "no_upstream") unknown(res, name);
	else if (result === "no_breaker") withoutBreaker(res, name, key);
	else {
		const breakers = view.upstreams().find((one) => one.name === name)?.breakers ?? [];
		sendJson(res, 200, { upstream: name, state: mode, breakers: key === undefined ? breakers : breakers.filter((one) => one.key === key) });
	}
}

function withoutBreaker(res: Call["res"], name: string, key: string | undefined): void {
	const title = key === undefined ? `${name} has no circuit breaker.` : `${name} has no circuit breaker for ${JSON.stringify(key)}.`;
	const hint = key === undefined ? "Give it one: `circuitBreaker: {}`." : `GET /upstreams/${name} lists them; one is made by its first request.`;
	sendProblem(res, { status: 404, title, hint, reason: "no_breaker" });
}

function unknown(res: Call["res"], name: string): void {
	const title = `There is no upstream named ${JSON.stringify(name)}.`;
	sendProblem(res, { status: 404, title, hint: "GET /upstreams lists them.", reason: "no_upstream" });
}
