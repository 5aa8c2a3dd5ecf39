/** The part of the API around the registry of services: sidecars register and follow, people look. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { Policies } from "../policy/policies.ts";
import { INSTANCE_NAME, SERVICE_NAME } from "../registry/instance.ts";
import type { ServiceRegistry, ShownInstance } from "../registry/service-registry.ts";
import { longPoll } from "./long-poll.ts";
import { byName, pageOf, pageQuery } from "./pages.ts";
import { badName, DRAINING, foreignService, notKept, serviceOf } from "./policy-routes.ts";
import { followAnswer, followRequest, instanceParams, registration, registrationAnswer, serviceParams, servicesAnswer } from "./policy-schemas.ts";
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";

export interface ServiceRoutesOptions {
	readonly registry: ServiceRegistry;
	readonly policies: Policies;
	readonly isDraining: () => boolean;
}

export function addServiceRoutes(routes: Routes, { registry, policies, isDraining }: ServiceRoutesOptions): void {
	const shown = (instances: readonly ShownInstance[], query: { readonly after?: string | undefined; readonly limit: string }): string => {
		// A map: names of services may look like numbers, which an object would put first.
		const services = [...Map.groupBy(instances, ({ service }) => service)].sort(byName(([service]) => service));
		const { page, next } = pageOf(services, ([service]) => service, query);
		return JSON.stringify({
			services: page.map(([service, each]) => ({
				service,
				instances: each.map(({ instance, address, zone, version, health, sinceMs, silentMs }) => {
					const policyVersion = policies.reports.get(service, instance)?.running ?? null;
					return { instance, address, zone, version, health, since: new Date(sinceMs).toISOString(), silentMs, policyVersion };
				}),
			})),
			next,
		});
	};

	routes.query(listRoute, "read", servicesQuery, (_c, query) => json(shown(registry.list(), query)));
	routes.query(getRoute, "read", noQuery, (c) => json(shown(registry.list(serviceOf(c)), { limit: "1" })));

	routes.body(registerRoute, "ingest", registration, async (c, { address: given, lease, ...said }) => {
		const service = serviceOf(c);
		const instance = c.req.param("instance") ?? "";
		const refusal = refusalOf(c, service, instance);
		if (refusal !== undefined) return refusal;
		const address = given.startsWith(":") ? `${hostOf(c.env.req.remoteAddress)}${given}` : given;
		const outcome = await registry.register(service, instance, { address, ...said }, lease);
		if (outcome.ok) return json(JSON.stringify({ address, leaseMs: lease }));
		if (outcome.failure === "conflict")
			return problemResponse({ status: 503, title: "The instance was changed meanwhile.", reason: "conflict" }, SOON);
		return problemResponse(notKept(outcome), SOON);
	});

	routes.query(deregisterRoute, "ingest", noQuery, async (c) => {
		const service = serviceOf(c);
		const instance = c.req.param("instance") ?? "";
		const refusal = refusalOf(c, service, instance);
		if (refusal !== undefined) return refusal;
		const outcome = await registry.deregister(service, instance);
		return outcome.ok || outcome.failure === "conflict" ? new Response(null, { status: 204 }) : problemResponse(notKept(outcome), SOON);
	});

	routes.body(followRoute, "member", followRequest, (c, { services, wait }) => {
		if (isDraining()) return problemResponse(DRAINING);
		const names = Object.keys(services);
		const changed = (): readonly string[] => names.filter((name) => registry.endpoints(name).tag !== services[name]);
		return longPoll(c, {
			polls: registry.polls,
			topics: names,
			waitMs: wait,
			hasNews: () => changed().length > 0,
			news: () => JSON.stringify({ services: Object.fromEntries(changed().map((name) => [name, registry.endpoints(name)])) }),
		});
	});
}

const SOON = { "retry-after": "1" };

function refusalOf(c: NexusContext, service: string, instance: string): Response | undefined {
	if (!SERVICE_NAME.test(service)) return problemResponse(badName(service));
	if (!INSTANCE_NAME.test(instance)) return problemResponse(badName(instance));
	const foreign = foreignService(c, service);
	return foreign && problemResponse(foreign);
}

/** As it stands before a port. */
function hostOf(remoteAddress: string): string {
	const v4 = remoteAddress.startsWith("::ffff:") ? remoteAddress.slice("::ffff:".length) : remoteAddress;
	return v4.includes(":") ? `[${v4}]` : v4;
}

const servicesQuery = pageQuery("Services");
const services = { content: { "application/json": { schema: servicesAnswer } } };

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/services",
	summary: "All registered instances",
	request: { query: servicesQuery },
	responses: { 200: { description: "By service and instance.", ...services }, 400: failure("The query is not valid.") },
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/services/{service}",
	summary: "The registered instances of a service",
	request: { params: serviceParams },
	responses: { 200: { description: "None where nobody has registered.", ...services } },
};

const registerRoute: RouteConfig = {
	method: "put",
	path: "/v1/services/{service}/instances/{instance}",
	summary: "For sidecars: register, or renew the lease",
	request: { params: instanceParams, body: { required: true, content: { "application/json": { schema: registration } } } },
	responses: {
		200: { description: "Listed.", content: { "application/json": { schema: registrationAnswer } } },
		400: failure("The request is not valid."),
		429: failure("There are too many instances."),
		500: failure("The disk failed."),
		503: failure("The state cannot be written."),
		507: failure("The disk is full."),
	},
};

const deregisterRoute: RouteConfig = {
	method: "delete",
	path: "/v1/services/{service}/instances/{instance}",
	summary: "For sidecars: no new requests, please",
	request: { params: instanceParams },
	responses: {
		204: { description: "Not listed (any more)." },
		400: failure("That is no name."),
		500: failure("The disk failed."),
		503: failure("The state cannot be written."),
		507: failure("The disk is full."),
	},
};

const followRoute: RouteConfig = {
	method: "post",
	path: "/v1/services/follow",
	summary: "For sidecars: where the instances of some services are, as soon as that changes",
	request: { body: { required: true, content: { "application/json": { schema: followRequest } } } },
	responses: {
		200: { description: "The lists that are others.", content: { "application/json": { schema: followAnswer } } },
		204: { description: "No other list within `wait`." },
		400: failure("The body is not valid."),
		429: failure("Too many wait."),
		503: failure("Shutting down."),
	},
};
