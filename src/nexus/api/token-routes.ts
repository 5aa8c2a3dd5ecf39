/** The part of the API that gives out tokens, rotates them, lists them and takes them back. */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import { spiffeIdOf } from "../../identity/spiffe-id.ts";
import type { Problem } from "../../server/problem.ts";
import type { ShownToken } from "../access/shown-token.ts";
import type { NotStored } from "../access/token-store.ts";
import type { NoSuchToken, NotRotated, Tokens } from "../access/tokens.ts";
import type { Authority } from "../authority/authority.ts";
import { NEXUS_SERVICE } from "../authority/identity-state.ts";
import { NO_AUTHORITY } from "./authority-routes.ts";
import { rotateTokenRequest, shownToken, tokenAnswer, tokenRequest, tokensAnswer, tokensQuery } from "./identity-schemas.ts";
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";

export interface TokenRoutesOptions {
	readonly tokens: Tokens;
	readonly authority: Authority | undefined;
	readonly logger: Logger;
	/** A token is gone, or a secret of one. */
	readonly onRemoved: () => void;
}

export function addTokenRoutes(routes: Routes, { tokens, authority, logger, onRemoved }: TokenRoutesOptions): void {
	routes.body(createRoute, "operate", tokenRequest, async (_c, wanted, who) => {
		if ("role" in wanted) {
			const { role, name, ttl: ttlMs, types, sources } = wanted;
			const made = await tokens.createApi({ role, name, ttlMs, types, sources });
			if ("fault" in made) return problemResponse(notMade(made.words, made.fault));
			return given(made.shown, made.text, "created", logger, who);
		}
		if (authority === undefined) return problemResponse(NO_AUTHORITY);
		const { service, ttl, uses } = wanted;
		if (!spiffeIdOf(authority.trustDomain, service).ok || service === NEXUS_SERVICE) return problemResponse(badService(service));
		const made = await tokens.createJoin({ service, ttlMs: ttl, uses, root: authority.rootFingerprint });
		if ("fault" in made) return problemResponse(notMade(made.words, made.fault));
		return given(made.shown, made.token.text(), "created", logger, who);
	});

	routes.body(rotateRoute, "operate", rotateTokenRequest, async (c, { grace: graceMs, ttl: ttlMs }, who) => {
		const rotated = await tokens.rotate(idOf(c), { graceMs, ttlMs });
		if ("fault" in rotated) return refused("The token was not rotated.", rotated);
		// One that was never used is gone with it.
		onRemoved();
		return given(rotated.shown, rotated.text, "rotated", logger, who);
	});

	routes.query(listRoute, "operate", tokensQuery, (_c, { after, limit }) => json(JSON.stringify(tokens.page(after, Number(limit)))));

	routes.query(retireRoute, "operate", noQuery, async (c, _query, who) => {
		const id = idOf(c);
		const fault = await tokens.retirePrevious(id);
		if (fault !== undefined) return refused("The secret was not retired.", fault);
		logger.info("the former secret of a token was retired", { id, by: who });
		onRemoved();
		return new Response(null, { status: 204 });
	});

	routes.query(deleteRoute, "operate", noQuery, async (c, _query, who) => {
		const id = idOf(c);
		const fault = await tokens.remove(id);
		if (fault !== undefined) return refused("The token was not deleted.", fault);
		logger.info("a token was deleted", { id, by: who });
		onRemoved();
		return new Response(null, { status: 204 });
	});
}

function idOf(c: NexusContext): string {
	return c.req.param("id") ?? "";
}

const STATUS = { not_found: 404, not_rotated: 409, too_many: 409, not_kept: 500, unavailable: 503 } as const;

function refused(title: string, { fault, words }: NoSuchToken | NotRotated | NotStored): Response {
	return problemResponse({ status: STATUS[fault], title, detail: words, reason: fault });
}

function given(shown: ShownToken, token: string, verb: "created" | "rotated", logger: Logger, who: string): Response {
	const { id, kind, service, role, name, version } = shown;
	logger.info(`a token was ${verb}`, { id, kind, service, role, name, version, by: who });
	return json(JSON.stringify({ ...shown, token }), 201, { "cache-control": "no-store" });
}

function badService(service: string): Problem {
	const why = service === NEXUS_SERVICE ? "is the name of Nexus itself" : "is no name of a service";
	return { status: 400, title: "The body is not valid.", detail: `service ${JSON.stringify(service.slice(0, 100))} ${why}`, reason: "bad_request" };
}

function notMade(words: string, fault: keyof typeof STATUS): Problem {
	return { status: STATUS[fault], title: "No token was made.", detail: words, reason: fault };
}

const NOT_KEPT = "The disk did not take it; nothing has changed.";
const AWAY = "The shared state cannot be had, or did not say how it went.";

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
		500: failure(NOT_KEPT),
		503: failure("This Nexus is no certificate authority, or the shared state cannot be had."),
	},
};

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/tokens",
	summary: "List the tokens, without their secrets",
	request: { query: tokensQuery },
	responses: {
		200: { description: "The newest first.", content: { "application/json": { schema: tokensAnswer } } },
		400: failure("The query is not valid."),
	},
};

const idParam = z.object({ id: shownToken.shape.id });

const rotateRoute: RouteConfig = {
	method: "post",
	path: "/v1/tokens/{id}/rotate",
	summary: "Give a token another secret",
	description:
		"For an API token. The secret before holds for `grace` more, or until it is retired. While both are in use there is no third; one that was lost before anybody used it is replaced. The secret is in this answer alone.",
	request: { params: idParam, body: { required: true, content: { "application/json": { schema: rotateTokenRequest } } } },
	responses: {
		201: { description: "Rotated.", content: { "application/json": { schema: tokenAnswer } } },
		400: failure("The body is not valid."),
		404: failure("There is none of this id."),
		409: failure("It is a join token, it has expired, or two secrets of it are in use."),
		500: failure(NOT_KEPT),
		503: failure(AWAY),
	},
};

const retireRoute: RouteConfig = {
	method: "delete",
	path: "/v1/tokens/{id}/previous",
	summary: "Retire the secret before the last rotation",
	request: { params: idParam },
	responses: {
		204: { description: "It holds no longer." },
		404: failure("There is none of this id, or it has but one secret."),
		500: failure(NOT_KEPT),
		503: failure(AWAY),
	},
};

const deleteRoute: RouteConfig = {
	method: "delete",
	path: "/v1/tokens/{id}",
	summary: "Delete a token",
	request: { params: idParam },
	responses: { 204: { description: "It holds no longer." }, 404: failure("There is none of this id."), 500: failure(NOT_KEPT), 503: failure(AWAY) },
};
