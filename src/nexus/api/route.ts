/** One way to serve a route: described in the OpenAPI document, admitted by role, its query and body checked before its handler sees them. */
import { type OpenAPIHono, type RouteConfig, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { messageOf } from "../../core/errors.ts";
import { type Problem, problemText } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { Access, Needed } from "../access/access.ts";
import type { Audit } from "./audit.ts";
import { problem } from "./schemas.ts";
import type { WebBindings } from "./web-handler.ts";

export type NexusApp = OpenAPIHono<{ Bindings: WebBindings }>;
export type NexusContext = Context<{ Bindings: WebBindings }>;

/** Commands and requests for certificates are small; events have a path of their own. */
const BODY_BYTES_MAX = 64 * 1024;

/** Probes may add what they like. */
export const noQuery = z.object({});

const problemContent = { "application/problem+json": { schema: problem } };
export const failure = (description: string) => ({ description, content: problemContent });

/** `who`: the caller, for logs. */
export type QueryHandler<Q> = (c: NexusContext, query: Q, who: string) => Response | Promise<Response>;
export type BodyHandler<B> = (c: NexusContext, body: B, who: string) => Response | Promise<Response>;

export class Routes {
	readonly #app: NexusApp;
	readonly #access: Access;
	readonly #audit: Audit | undefined;

	constructor(app: NexusApp, access: Access, audit?: Audit) {
		this.#app = app;
		this.#access = access;
		this.#audit = audit;
	}

	/** Answers are bytes made by hand, as events are never parsed on their way out. */
	query<Q extends z.ZodType>(route: RouteConfig, needed: Needed, query: Q, handler: QueryHandler<z.output<Q>>): void {
		const responses = query === (noQuery as z.ZodType) ? route.responses : { 400: failure("The query is not valid."), ...route.responses };
		this.#serve({ ...route, responses }, needed, (c, who) => {
			const checked = query.safeParse(c.req.query());
			if (checked.success) return handler(c, checked.data, who);
			return problemResponse({ status: 400, title: "The query is not valid.", detail: issuesText(checked.error.issues), reason: "bad_query" });
		});
	}

	/** JSON of at most `bytesMax`, 64 KiB where nothing is said; who may not do this is refused before it is read. */
	body<B extends z.ZodType>(route: RouteConfig, needed: Needed, body: B, handler: BodyHandler<z.output<B>>, bytesMax = BODY_BYTES_MAX): void {
		const responses = { 413: failure("The body is too large."), 415: failure("The body is encoded."), ...route.responses };
		this.#serve({ ...route, responses }, needed, async (c, who) => {
			const read = await readJson(c.env.req, bytesMax);
			if ("problem" in read) return problemResponse(read.problem);
			const checked = body.safeParse(read.json);
			if (checked.success) return handler(c, checked.data, who);
			return problemResponse({ status: 400, title: "The body is not valid.", detail: issuesText(checked.error.issues), reason: "bad_request" });
		});
	}

	/** For what is served elsewhere, and only described here. */
	describe(route: RouteConfig, needed: Needed): void {
		this.#app.openAPIRegistry.registerPath(described(route, needed));
	}

	#serve(route: RouteConfig, needed: Needed, handler: (c: NexusContext, who: string) => Response | Promise<Response>): void {
		this.describe(route, needed);
		this.#app.on(route.method, route.path.replaceAll(/\{(\w+)\}/g, ":$1"), (c) => {
			const admission = this.#access.admit(c.env.req, needed);
			if (!admission.ok) return problemResponse(admission.problem);
			const { method } = c.req;
			if (this.#audit === undefined || needed !== "operate" || method === "GET" || method === "HEAD") return handler(c, admission.who);
			return this.#audited(c, admission.who, handler);
		});
	}

	async #audited(c: NexusContext, who: string, handler: (c: NexusContext, who: string) => Response | Promise<Response>): Promise<Response> {
		const response = await handler(c, who);
		if (response.ok) this.#audit?.(c, who, response.status);
		return response;
	}
}

/** Both ways to show who one is; registered once. */
export function describeSecurity(app: NexusApp): void {
	app.openAPIRegistry.registerComponent("securitySchemes", "token", {
		type: "http",
		scheme: "bearer",
		description: "A token of one role, as `nexus token create` makes it. `operate` contains `read` and `ingest`.",
	});
	app.openAPIRegistry.registerComponent("securitySchemes", "certificate", {
		type: "mutualTLS",
		description: "A certificate of the mesh: role `ingest`, and what `access.identities` adds.",
	});
}

export function json(text: string, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
	return new Response(text, { status, headers: { ...headers, "content-type": "application/json" } });
}

export function problemResponse(document: Problem, headers: Readonly<Record<string, string>> = {}): Response {
	const authenticate = document.status === 401 ? { "www-authenticate": "Bearer" } : undefined;
	return new Response(problemText(document), {
		status: document.status,
		headers: { ...headers, ...authenticate, "content-type": "application/problem+json" },
	});
}

function described(route: RouteConfig, needed: Needed): RouteConfig {
	if (needed === "none") return route;
	const role = needed === "member" ? "any certificate of the mesh, or role `read`" : `role \`${needed}\``;
	return {
		...route,
		description: `${route.description ?? ""}${route.description === undefined ? "" : " "}Needs ${role}.`,
		security: [{ token: [] }, { certificate: [] }],
		responses: { ...route.responses, 401: failure("Who calls is not known."), 403: failure("The caller may not do this.") },
	};
}

type JsonRead = { readonly json: unknown } | { readonly problem: Problem };

async function readJson(req: ServerRequest, bytesMax: number): Promise<JsonRead> {
	if ((req.header("content-encoding") ?? "identity") !== "identity") {
		return { problem: { status: 415, title: "Bodies are taken without content-encoding.", reason: "bad_request" } };
	}
	const read = await req.body(bytesMax);
	if (!read.ok) return { problem: read.problem };
	try {
		return { json: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(read.body)) };
	} catch (thrown) {
		// The parser's own words quote the body, in which secrets may stand.
		const detail = thrown instanceof SyntaxError ? "It is no JSON (RFC 8259)." : messageOf(thrown);
		return { problem: { status: 400, title: "The body is not JSON.", detail, reason: "bad_request" } };
	}
}

/** Of a choice between several shapes: what is wrong with the one that comes closest. */
function issuesText(issues: readonly z.core.$ZodIssue[]): string {
	return issues
		.map((issue) => {
			const { path, message } = issue;
			const closest = issue.code === "invalid_union" ? issue.errors.toSorted((a, b) => strangeness(a) - strangeness(b))[0] : undefined;
			const words = closest === undefined || closest.length === 0 ? message : issuesText(closest);
			return path.length === 0 ? words : `${path.join(".")} ${words}`;
		})
		.join("; ");
}

/** One that is wrong within comes closer than one that is wrong as a whole. */
function strangeness(issues: readonly z.core.$ZodIssue[]): number {
	return issues.reduce((sum, { path }) => sum + (path.length === 0 ? 100 : 1), 0);
}
