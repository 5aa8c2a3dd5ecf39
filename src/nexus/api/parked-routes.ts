/** The part of the API about events that violate the schema of their type: listed, looked at, published once they are fine, thrown away. */
import type { RouteConfig, z } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import type { Problem } from "../../server/problem.ts";
import type { ParkedEvent } from "../publish/parked-events.ts";
import type { Publishing } from "../publish/publishing.ts";
import { keyParam, parkedAnswer, parkedPage, parkedQuery, replayAnswer, replayRequest } from "./publish-shapes.ts";
import { failure, json, noQuery, problemResponse, type Routes } from "./route.ts";
import { stateProblem } from "./state-problem.ts";

export interface ParkedRoutesOptions {
	readonly publishing: Pick<Publishing, "parked" | "publisher" | "schemas">;
	readonly logger: Logger;
}

export function addParkedRoutes(routes: Routes, { publishing: { parked, publisher, schemas }, logger }: ParkedRoutesOptions): void {
	routes.query(listRoute, "read", parkedQuery, async (_c, { type, after, limit }) => {
		const page = await parked.page(after, Number(limit), type);
		if ("failed" in page) return problemResponse(stateProblem(page.failed));
		return json(`{"events":[${page.events.map(shown).join(",")}],"next":${JSON.stringify(page.next ?? null)}}`);
	});

	routes.query(getRoute, "read", noQuery, async (c) => {
		const found = await parked.get(c.req.param("key") ?? "");
		if (found === undefined) return problemResponse(NOT_FOUND);
		return "failed" in found ? problemResponse(stateProblem(found.failed)) : json(shown(found));
	});

	routes.body(replayRoute, "operate", replayRequest, async (_c, { keys, type, limit }, who) => {
		const asked = { limit, ...(keys && { keys }), ...(type !== undefined && { type }) };
		const report = await parked.replay(
			asked,
			(event) => schemas.check(event),
			(message) => publisher.publish(message),
		);
		if ("failed" in report) return problemResponse(stateProblem(report.failed));
		logger.info("parked events were published", { recovered: report.recovered, stillFailed: report.stillFailed, by: who });
		return json(JSON.stringify(report));
	});

	routes.query(deleteRoute, "operate", noQuery, async (c, _query, who) => {
		const key = c.req.param("key") ?? "";
		const removed = await parked.remove(key);
		if (typeof removed !== "boolean") return problemResponse(stateProblem(removed.failed));
		if (!removed) return problemResponse(NOT_FOUND);
		logger.info("a parked event was thrown away", { key, by: who });
		return new Response(null, { status: 204 });
	});
}

const NOT_FOUND: Problem = { status: 404, title: "No such event is parked.", reason: "not_found" };

/** The event as its sender wrote it. */
function shown({ key, type, source, id, reason, parkedAtMs, event }: ParkedEvent): string {
	const head = JSON.stringify({ key, type, source, id, reason, parkedAt: new Date(parkedAtMs).toISOString() });
	return `${head.slice(0, -1)},"event":${event}}`;
}

const content = (description: string, schema: z.ZodType) => ({ description, content: { "application/json": { schema } } });
const stateFailures = { 500: failure("The disk failed."), 503: failure("The state cannot be used for now."), 507: failure("The disk is full.") };

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/parked-events",
	summary: "List events that violate their schema",
	description: "In no order that means anything. Looking at them takes nothing out.",
	request: { query: parkedQuery },
	responses: { 200: content("One page.", parkedPage), 400: failure("The query is not valid."), ...stateFailures },
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/parked-events/{key}",
	summary: "One parked event",
	request: { params: keyParam },
	responses: {
		200: content("It.", parkedAnswer),
		400: failure("The query or the key is not valid."),
		404: failure("No such event is parked."),
		...stateFailures,
	},
};

const replayRoute: RouteConfig = {
	method: "post",
	path: "/v1/parked-events/replay",
	summary: "Publish parked events that are valid by now",
	description: "Each is judged by the schema as it is now; who is fine goes to the log as if it came now.",
	request: { body: { required: true, content: { "application/json": { schema: replayRequest } } } },
	responses: { 200: content("What became of them.", replayAnswer), 400: failure("The body is not valid."), ...stateFailures },
};

const deleteRoute: RouteConfig = {
	method: "delete",
	path: "/v1/parked-events/{key}",
	summary: "Throw a parked event away",
	request: { params: keyParam },
	responses: {
		204: { description: "It is gone." },
		400: failure("The query or the key is not valid."),
		404: failure("No such event is parked."),
		...stateFailures,
	},
};
