/** The part of the API that keeps the schemas of event types. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import type { Problem } from "../../server/problem.ts";
import type { EventSchemas, SchemaPutOutcome, StoredSchema } from "../publish/event-schemas.ts";
import { RESERVED_PREFIX } from "../schemas/registry.ts";
import type { SchemaFault } from "../schemas/schema-document.ts";
import { byName, pageOf, pageQuery } from "./pages.ts";
import { schemaAnswer, schemaRequest, schemasAnswer, typeParam, versionParam, versionsAnswer } from "./publish-shapes.ts";
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";
import { stateProblem } from "./state-problem.ts";

export interface SchemaRoutesOptions {
	readonly schemas: EventSchemas;
	readonly logger: Logger;
}

export function addSchemaRoutes(routes: Routes, { schemas, logger }: SchemaRoutesOptions): void {
	routes.query(listRoute, "read", schemasQuery, (_c, query) => {
		const { page, next } = pageOf(schemas.types().sort(byName(nameOf)), nameOf, query);
		const listed = page.map((schema) => {
			const { schema: _, ...rest } = shown(schema);
			return rest;
		});
		return json(JSON.stringify({ schemas: listed, next }));
	});

	routes.query(getRoute, "read", noQuery, (c) => found(schemas.get(typeOf(c))));
	routes.query(versionRoute, "read", noQuery, (c) => found(schemas.get(typeOf(c), Number(c.req.param("version")))));
	routes.query(versionsRoute, "read", noQuery, (c) => {
		const versions = schemas.versions(typeOf(c));
		return versions.length === 0 ? problemResponse(NOT_FOUND) : json(JSON.stringify({ versions: versions.map(shown) }));
	});

	routes.body(putRoute, "operate", schemaRequest, async (c, { schema, compatibility, onViolation }, who) => {
		const type = typeOf(c);
		const asked = { document: schema, ...(compatibility && { compatibility }), ...(onViolation && { onViolation }) };
		const outcome = await schemas.put(type, asked, who);
		if (!outcome.ok) return problemResponse(notPut(outcome));
		const { version } = outcome.schema;
		if (outcome.isNew) logger.info("a schema was kept", { type, version, by: who });
		return json(JSON.stringify(shown(outcome.schema)), outcome.isNew ? 201 : 200);
	});

	routes.query(deleteRoute, "operate", noQuery, async (c, _query, who) => {
		const type = typeOf(c);
		const outcome = await schemas.delete(type);
		if (outcome.ok) {
			logger.info("the schemas of a type were deleted", { type, by: who });
			return new Response(null, { status: 204 });
		}
		if (outcome.why === "state") return problemResponse(stateProblem(outcome.failed));
		return problemResponse(outcome.why === "reserved" ? RESERVED : NOT_FOUND);
	});
}

const schemasQuery = pageQuery("Types");
const nameOf = ({ type }: StoredSchema): string => type;

function typeOf(c: NexusContext): string {
	return c.req.param("type") ?? "";
}

function found(schema: StoredSchema | undefined): Response {
	return schema === undefined ? problemResponse(NOT_FOUND) : json(JSON.stringify(shown(schema)));
}

function shown({ type, version, compatibility, onViolation, by, atMs, document }: StoredSchema) {
	const isBuiltIn = type.startsWith(RESERVED_PREFIX);
	const createdAt = isBuiltIn ? null : new Date(atMs).toISOString();
	return { type, version, compatibility, onViolation, isBuiltIn, createdAt, createdBy: by, schema: document };
}

const NOT_FOUND: Problem = { status: 404, title: "There is no such schema.", reason: "not_found" };
const RESERVED: Problem = {
	status: 403,
	title: "This schema is built in.",
	detail: `Types that begin with ${RESERVED_PREFIX} are those of the mesh itself.`,
	reason: "reserved",
};
const CHANGE_HINTS =
	"Make what is new optional, or send `compatibility: none` where nobody reads by the versions before; a type of another name begins anew.";

function notPut(outcome: SchemaPutOutcome & { readonly ok: false }): Problem {
	if (outcome.why === "state") return stateProblem(outcome.failed);
	const detail = faultsText(outcome.faults);
	const extensions = { faults: outcome.faults };
	switch (outcome.why) {
		case "reserved":
			return RESERVED;
		case "invalid":
			return { status: 422, title: "The schema is not valid.", detail, reason: "invalid_schema", extensions };
		case "full":
			return { status: 409, title: "There is no room for this schema.", detail, reason: "too_many" };
		case "incompatible":
			return { status: 409, title: "The change would break somebody.", detail, reason: "incompatible_schema", hint: CHANGE_HINTS, extensions };
		case "raced":
			return { status: 409, title: "Somebody else has changed it.", detail, reason: "conflict", hint: "Look at what is there, and send it again." };
	}
}

function faultsText(faults: readonly SchemaFault[]): string {
	return faults.map(({ path, message }) => (path === "" ? message : `${path} ${message}`)).join("; ");
}

const content = (description: string, schema: typeof schemaAnswer | typeof schemasAnswer | typeof versionsAnswer) => ({
	description,
	content: { "application/json": { schema } },
});
const stateFailures = { 500: failure("The disk failed."), 503: failure("The state cannot be used for now."), 507: failure("The disk is full.") };

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/schemas",
	summary: "List the schemas of event types",
	request: { query: schemasQuery },
	responses: { 200: content("The latest of each type, without the schemas themselves.", schemasAnswer), 400: failure("The query is not valid.") },
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/schemas/{type}",
	summary: "The latest schema of a type",
	request: { params: typeParam },
	responses: { 200: content("It.", schemaAnswer), 400: failure("The query is not valid."), 404: failure("The type has no schema.") },
};

const versionRoute: RouteConfig = {
	method: "get",
	path: "/v1/schemas/{type}/versions/{version}",
	summary: "One version of a schema",
	request: { params: versionParam },
	responses: { 200: content("It.", schemaAnswer), 400: failure("The query is not valid."), 404: failure("There is no such version.") },
};

const versionsRoute: RouteConfig = {
	method: "get",
	path: "/v1/schemas/{type}/versions",
	summary: "All versions of a schema",
	request: { params: typeParam },
	responses: { 200: content("In order.", versionsAnswer), 400: failure("The query is not valid."), 404: failure("The type has no schema.") },
};

const putRoute: RouteConfig = {
	method: "put",
	path: "/v1/schemas/{type}",
	summary: "Give a type a schema",
	description:
		"Makes a new version where it differs from the latest, and the change is as compatible as is asked of it. Events that come from then on are judged by the latest version and by older ones that it went on from.",
	request: { params: typeParam, body: { required: true, content: { "application/json": { schema: schemaRequest } } } },
	responses: {
		200: content("It was there already.", schemaAnswer),
		201: content("A new version.", schemaAnswer),
		400: failure("The body is not valid."),
		409: failure("The change would break somebody, or there are too many."),
		422: failure("It is no schema that is taken."),
		...stateFailures,
	},
};

const deleteRoute: RouteConfig = {
	method: "delete",
	path: "/v1/schemas/{type}",
	summary: "Forget all schemas of a type",
	request: { params: typeParam },
	responses: {
		204: { description: "Forgotten; events of this type are not judged any more." },
		400: failure("The query is not valid."),
		404: failure("The type has no schema."),
		...stateFailures,
	},
};
