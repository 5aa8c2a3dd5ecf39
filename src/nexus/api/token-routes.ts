/** The part of the API that gives out tokens, lists them and takes them back. */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import { spiffeIdOf } from "../../identity/spiffe-id.ts";
import type { Problem } from "../../server/problem.ts";
import type { ShownToken, Tokens } from "../access/tokens.ts";
import type { Authority } from "../authority/authority.ts";
import { NEXUS_SERVICE } from "../authority/identity-state.ts";
import { NO_AUTHORITY } from "./authority-routes.ts";
import { shownToken, tokenAnswer, tokenRequest, tokensAnswer } from "./identity-schemas.ts";
import { failure, json, noQuery, problemResponse, type Routes } from "./route.ts";

export interface TokenRoutesOptions {
	readonly tokens: Tokens;
	readonly authority: Authority | undefined;
	readonly logger: Logger;
	/** A token is gone. */
	readonly onRemoved: () => void;
}

export function addTokenRoutes(routes: Routes, { tokens, authority, logger, onRemoved }: TokenRoutesOptions): void {
	routes.body(createRoute, "operate", tokenRequest, async (_c, wanted, who) => {
		if ("role" in wanted) {
			const made = await tokens.createApi({ role: wanted.role, name: wanted.name, ttlMs: wanted.ttl });
			if ("fault" in made) return problemResponse(notMade(made.words, made.fault));
			return created(made.shown, made.text, logger, who);
		}
		if (authority === undefined) return problemResponse(NO_AUTHORITY);
		const { service, ttl, uses } = wanted;
		if (!spiffeIdOf(authority.trustDomain, service).ok || service === NEXUS_SERVICE) return problemResponse(badService(service));
		const made = await tokens.createJoin({ service, ttlMs: ttl, uses, root: authority.rootFingerprint });
		if ("fault" in made) return problemResponse(notMade(made.words, made.fault));
		return created(made.shown, made.token.text(), logger, who);
	});

	routes.query(listRoute, "operate", noQuery, () => json(JSON.stringify({ tokens: tokens.list() })));

	routes.query(deleteRoute, "operate", noQuery, async (c, _query, who) => {
		const id = c.req.param("id") ?? "";
		const fault = await tokens.remove(id);
		if (fault !== undefined) {
			const status = fault.fault === "not_found" ? 404 : 500;
			return problemResponse({ status, title: "The token was not deleted.", detail: fault.words, reason: fault.fault });
		}
		logger.info("a token was deleted", { id, by: who });
		onRemoved();
		return new Response(null, { status: 204 });
	});
}

function created(shown: ShownToken, token: string, logger: Logger, who: string): Response {
	const { id, kind, service, role, name } = shown;
	logger.info("a token was created", { id, kind, service, role, name, by: who });
	return json(JSON.stringify({ ...shown, token }), 201, { "cache-control": "no-store" });
}

function badService(service: string): Problem {
	const why = service === NEXUS_SERVICE ? "is the name of Nexus itself" : "is no name of a service";
	return { status: 400, title: "The body is not valid.", detail: `service ${JSON.stringify(service.slice(0, 100))} ${why}`, reason: "bad_request" };
}

function notMade(words: string, fault: "too_many" | "not_kept"): Problem {
	return { status: fault === "too_many" ? 409 : 500, title: "No token was made.", detail: words, reason: fault };
}

const createRoute: RouteConfig = {
	method: "post",
	path: "/v1/tokens",
	summary: "Make a token",
	description:
		"For a service, with which it gets its first certificate; or for a caller of this API, with one role. The secret is in this answer alone.",
	request: { body: { required: true, content: { "application/json": { schema: tokenRequest } } } },
	responses: {
		201: { description: "Made.", content: { "application/json": { schema: tokenAnswer } } },
		400: failure("The body is not valid."),
		409: failure("There are too many."),
		503: failure("This Nexus is no certificate authority."),
	},
};

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/tokens",
	summary: "List the tokens, without their secrets",
	responses: { 200: { description: "The newest first.", content: { "application/json": { schema: tokensAnswer } } } },
};

const deleteRoute: RouteConfig = {
	method: "delete",
	path: "/v1/tokens/{id}",
	summary: "Delete a token",
	request: { params: z.object({ id: shownToken.shape.id }) },
	responses: { 204: { description: "It holds no longer." }, 404: failure("There is none of this id.") },
};
