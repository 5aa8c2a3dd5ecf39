/**
 * The keys of the policy file: the one source of what is accepted, of the JSON Schema that editors use and of docs/policy.md.
 * A key stands here only once it acts.
 */
import * as z from "zod/mini";
import { DEFAULTS } from "./defaults.ts";
import { parsePathMatch } from "./path-pattern.ts";
import {
	anyAddress,
	byDefault,
	duration,
	flag,
	fraction,
	headers,
	integer,
	list,
	listenAddress,
	NAME_PATTERN,
	name,
	optional,
	required,
	text,
} from "./schema-values.ts";
import {
	parseAuthority,
	parseCidr,
	parseDnsServer,
	parseFilePath,
	parseHostName,
	parseHostPattern,
	parseHttpUrl,
	parseMethod,
	parseRequestPath,
} from "./values.ts";

// Everything in a policy is held in memory and compiled at once.
const ROUTES_MAX = 10_000;
const ENDPOINTS_MAX = 10_000;

const host = text("host", parseAuthority);
const method = text("method", parseMethod);

export const limits = z.strictObject({
	maxConnections: byDefault(
		integer(1, 1_000_000),
		DEFAULTS.limits.maxConnections,
		"Connections accepted at a time; more are refused with `connection_limit`.",
	),
	requestHeadTimeout: byDefault(
		duration,
		DEFAULTS.limits.requestHeadTimeout,
		"From the first byte of a request head to its last; a slower client gets 408.",
	),
	bodyIdleTimeout: byDefault(duration, DEFAULTS.limits.bodyIdleTimeout, "Longest silence inside a request body."),
	keepAliveIdleTimeout: byDefault(duration, DEFAULTS.limits.keepAliveIdleTimeout, "How long a kept-alive connection may stay without a request."),
});

export const timeout = z.strictObject({
	request: byDefault(duration, DEFAULTS.timeout.request, "The whole exchange, until the last byte of the answer's head."),
	connect: byDefault(duration, DEFAULTS.timeout.connect, "Until a new connection is accepted."),
	idle: byDefault(duration, DEFAULTS.timeout.idle, "Longest silence inside an answer's body, and how long a pooled connection stays unused."),
});

export const pool = z.strictObject({
	maxConnections: byDefault(integer(1, 65_535), DEFAULTS.pool.maxConnections, "Connections per endpoint."),
	maxPending: byDefault(
		integer(0, 1_000_000),
		DEFAULTS.pool.maxPending,
		"Requests that wait for a connection, per endpoint; more are refused with `endpoint_overflow`.",
	),
	pendingTimeout: byDefault(duration, DEFAULTS.pool.pendingTimeout, "Longest wait for a connection; then `queue_timeout`."),
});

const inbound = z.strictObject({
	listen: byDefault(listenAddress, DEFAULTS.inboundListen, "Where other services reach this one."),
	application: required(anyAddress, "Where the application itself listens: host:port, or unix:/path of a socket."),
	limits: byDefault(limits, {}, "Limits of the inbound listener."),
	trustedProxies: byDefault(
		list(text("CIDR block", parseCidr), { max: 1_000 }),
		[],
		"Peers whose `x-forwarded-*` fields are believed; nobody's by default. An `x-request-id` is kept from anybody.",
	),
	timeout: byDefault(timeout, {}, "Time limits towards the application."),
	pool: byDefault(pool, {}, "Connections to the application."),
});

const match = z.strictObject({
	host: optional(text("host pattern", parseHostPattern), "Host without its port: a name, or `*.suffix`. Without it: every host."),
	path: optional(
		text("path pattern", parsePathMatch, "^/"),
		"`/a/b` exactly; `/a/**` for /a and all below; `*` for any part of one segment, `**` for any number of segments.",
	),
	method: optional(method, "One method; `methods` takes several."),
	methods: optional(list(method, { min: 1, max: 32 }), "Methods, in capitals. Without it: every method."),
	headers: optional(headers, "Headers that must be present with exactly these values."),
});

const route = z.strictObject({
	name: required(name, "Unique; stands in logs, metrics and events."),
	match: byDefault(match, {}, "All conditions that are given must hold."),
	to: required(name, "Name of an upstream of this policy."),
	rewrite: optional(
		z.strictObject({ host: required(host, "Replaces the Host field towards the upstream.") }),
		"What is changed on the way; by default nothing.",
	),
});

const outbound = z.strictObject({
	listen: byDefault(
		listenAddress,
		DEFAULTS.outboundListen,
		"Where this service's application sends its requests: by Host field, or as `HTTP_PROXY`.",
	),
	passthrough: byDefault(flag, false, "Whether requests to hosts outside the mesh are passed on; otherwise refused with `no_route`."),
	limits: byDefault(limits, {}, "Limits of the outbound listener."),
	routes: byDefault(
		list(route, { max: ROUTES_MAX }),
		[],
		"The first that matches wins. A host that no route names goes to the upstream of that name.",
	),
});

const endpoint = z.strictObject({
	address: required(anyAddress, "host:port, or unix:/path of a socket."),
	weight: byDefault(integer(1, 1_000), DEFAULTS.endpointWeight, "Share of the requests, relative to the others."),
	zone: optional(name, "Where it runs."),
});

/** What stands in a file of endpoints. */
export const endpointListSchema = list(endpoint, { max: ENDPOINTS_MAX });

const dns = z.strictObject({
	name: required(text("host name", parseHostName), "Full name to resolve (search domains and the hosts file are not consulted)."),
	port: optional(integer(1, 65_535), "Port of every address; needed with A and AAAA, given by the records with SRV."),
	type: byDefault(z.enum(["A", "AAAA", "SRV"]), DEFAULTS.dns.type, "Type of the records."),
	refresh: byDefault(duration, DEFAULTS.dns.refresh, "How often the name is resolved again; the last good answer is kept."),
	servers: byDefault(list(text("IP address, perhaps with a port", parseDnsServer), { max: 16 }), [], "Name servers; by default the system's."),
});

const healthCheck = z.strictObject({
	kind: byDefault(z.enum(["http", "tcp"]), DEFAULTS.healthCheck.kind, "A GET request, or only a connection."),
	path: byDefault(text("path", parseRequestPath, "^/"), DEFAULTS.healthCheck.path, "Path that is asked for (http)."),
	host: optional(host, "Host field of the check (http); by default the endpoint's address."),
	headers: byDefault(headers, {}, "Further headers of the check (http)."),
	statuses: byDefault(list(integer(100, 599), { min: 1, max: 100 }), [...DEFAULTS.healthCheck.statuses], "Statuses that count as healthy (http)."),
	interval: byDefault(duration, DEFAULTS.healthCheck.interval, "Between two checks of one endpoint, with jitter."),
	timeout: byDefault(duration, DEFAULTS.healthCheck.timeout, "Longest that a check may take."),
	unhealthyThreshold: byDefault(integer(1, 100), DEFAULTS.healthCheck.unhealthyThreshold, "Failures in a row until the endpoint is unhealthy."),
	healthyThreshold: byDefault(
		integer(1, 100),
		DEFAULTS.healthCheck.healthyThreshold,
		"Successes in a row until it is healthy again; one is enough at the start.",
	),
});

const upstream = z.strictObject({
	listen: optional(listenAddress, "A port of its own on this side, for applications that cannot set a Host."),
	endpoints: optional(
		list(endpoint, { min: 1, max: ENDPOINTS_MAX }),
		"The instances, as a list. Exactly one of `endpoints`, `dns` and `file` is given.",
	),
	dns: optional(dns, "The instances, as a DNS name."),
	file: optional(text("file path", parseFilePath), "The instances, as a YAML or JSON list in a file that is watched; relative to the policy file."),
	protocol: byDefault(z.enum(["http1"]), "http1", "What the endpoints speak."),
	loadBalancing: byDefault(
		z.enum(["round-robin", "least-connections", "weighted", "random"]),
		DEFAULTS.loadBalancing,
		"How one of the healthy endpoints is chosen.",
	),
	healthCheck: optional(healthCheck, "Active checks; without it every endpoint counts as healthy."),
	timeout: byDefault(timeout, {}, "Time limits towards this upstream."),
	pool: byDefault(pool, {}, "Connections to each endpoint."),
});

const upstreams = z.record(z.string(), upstream);
z.globalRegistry.add(upstreams, { propertyNames: { pattern: NAME_PATTERN } });

const nexus = z.strictObject({
	url: required(text("URL", parseHttpUrl, "^https?://"), "Base URL of Nexus."),
	spool: byDefault(
		z.strictObject({
			maxEvents: byDefault(integer(1, 1_000_000), DEFAULTS.spoolMaxEvents, "Events kept while Nexus is away; the oldest go first."),
		}),
		{},
		"The memory for events that are not delivered yet.",
	),
});

const accessLog = z.strictObject({
	sample: byDefault(fraction, DEFAULTS.accessLogSample, "Fraction of the requests that are logged, 0 to 1."),
	format: byDefault(z.enum(["json"]), "json", "One JSON object per line."),
});

export const policySchema = z.strictObject({
	service: required(name, "Name of the service that this sidecar stands next to."),
	trustDomain: byDefault(text("host name", parseHostName), DEFAULTS.trustDomain, "Domain of the mesh's identities: spiffe://DOMAIN/SERVICE."),
	admin: byDefault(
		z.strictObject({ listen: byDefault(listenAddress, DEFAULTS.adminListen, "Address of the admin API; loopback unless changed.") }),
		{},
		"The admin API of the sidecar.",
	),
	inbound: optional(inbound, "Traffic from others to this service. At least one of `inbound` and `outbound` is given."),
	outbound: optional(outbound, "Traffic from this service to others."),
	upstreams: byDefault(upstreams, {}, "The services that this one calls, by name."),
	nexus: optional(nexus, "Where events go; without it nowhere."),
	accessLog: optional(accessLog, "The access log; without it none is written."),
	drainTimeout: byDefault(duration, DEFAULTS.drainTimeout, "How long requests in flight may take to finish when the sidecar stops."),
});
z.globalRegistry.add(policySchema, { title: "Nexus Mesh policy" });

export type PolicyConfig = z.output<typeof policySchema>;
export type EndpointConfig = z.output<typeof endpoint>;
export type UpstreamConfig = z.output<typeof upstream>;
