/** What /openapi.json says of the routes around policies. */
import type { RouteConfig } from "@hono/zod-openapi";
import { pageQuery } from "./pages.ts";
import {
	policiesAnswer,
	policyAnswer,
	policyProblem,
	policyRequest,
	putAnswer,
	rollbackRequest,
	serviceParams,
	statusAnswer,
	syncAnswer,
	syncRequest,
	versionParams,
	versionsAnswer,
} from "./policy-schemas.ts";
import { failure } from "./route.ts";

const ofPolicy = { content: { "application/json": { schema: policyAnswer } } };
const notThere = failure("There is none.");
const unreadable = { 500: failure("The disk failed."), 503: failure("The state cannot be read.") };
const badPolicy = {
	description: "The policy is wrong: every fault with its place.",
	content: { "application/problem+json": { schema: policyProblem } },
};

export const policiesQuery = pageQuery("Policies");

export const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies",
	summary: "Policies of all services",
	request: { query: policiesQuery },
	responses: {
		200: { description: "By name.", content: { "application/json": { schema: policiesAnswer } } },
		400: failure("The query is not valid."),
	},
};

export const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}",
	summary: "The policy of a service that is in force",
	description: "`etag` is the latest version, for `if-match`.",
	request: { params: serviceParams },
	responses: { 200: { description: "The policy.", ...ofPolicy }, 404: notThere, ...unreadable },
};

export const versionsRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/versions",
	summary: "The last versions of a policy",
	request: { params: serviceParams },
	responses: { 200: { description: "The newest first.", content: { "application/json": { schema: versionsAnswer } } }, 404: notThere, ...unreadable },
};

export const versionRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/versions/{version}",
	summary: "One version of a policy",
	request: { params: versionParams },
	responses: { 200: { description: "The policy.", ...ofPolicy }, 404: notThere, ...unreadable },
};

export const putRoute: RouteConfig = {
	method: "put",
	path: "/v1/policies/{service}",
	summary: "Give a service another policy",
	description:
		"Checked as `nexus check` does, then rolled out to its sidecars: by default to one instance, to a tenth, to all, and taken back by itself where the first ones do worse than the others. With `if-match` only if that version is the latest.",
	request: { params: serviceParams, body: { required: true, content: { "application/json": { schema: policyRequest } } } },
	responses: {
		200: { description: "This text is in force already.", content: { "application/json": { schema: putAnswer } } },
		201: { description: "A new version, durable.", content: { "application/json": { schema: putAnswer } } },
		400: failure("The request is not valid."),
		409: failure("A roll-out is under way, or there are too many services."),
		412: failure("Somebody else has changed it."),
		413: failure("The policy is too large."),
		422: badPolicy,
		503: failure("The state cannot be written."),
	},
};

export const rollbackRoute: RouteConfig = {
	method: "post",
	path: "/v1/policies/{service}/rollback",
	summary: "Take a policy back",
	description: "At once and for all instances: ends a roll-out, or makes an earlier text the newest version.",
	request: { params: serviceParams, body: { required: true, content: { "application/json": { schema: rollbackRequest } } } },
	responses: {
		200: { description: "The roll-out is ended.", content: { "application/json": { schema: putAnswer } } },
		201: { description: "A new version with the earlier text.", content: { "application/json": { schema: putAnswer } } },
		400: failure("The body is not valid."),
		404: failure("There is nothing to go back to."),
		409: failure("A roll-out has begun meanwhile."),
		412: failure("Somebody else has changed it."),
		422: badPolicy,
		503: failure("The state cannot be written."),
	},
};

export const statusRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/status",
	summary: "Which instance runs which version since when",
	request: { params: serviceParams },
	responses: { 200: { description: "What its instances have said.", content: { "application/json": { schema: statusAnswer } } }, 404: notThere },
};

export const syncRoute: RouteConfig = {
	method: "post",
	path: "/v1/policies/{service}/sync",
	summary: "For sidecars: says what it runs, and waits for something else to run",
	description: "The next call acknowledges what the last one has brought, or says why it was not taken.",
	request: { params: serviceParams, body: { required: true, content: { "application/json": { schema: syncRequest } } } },
	responses: {
		200: { description: "What to run.", content: { "application/json": { schema: syncAnswer } } },
		204: { description: "Nothing else within `wait`." },
		400: failure("The body is not valid."),
		429: failure("Too many wait."),
		500: failure("The disk failed."),
		503: failure("Shutting down, or the state cannot be read."),
	},
};
