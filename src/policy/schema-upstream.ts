/** The keys of an upstream: its endpoints, how they are found, checked and balanced, and what protects them. */

import { DEFAULTS } from "./defaults.ts";
import { upstreamTls } from "./schema-identity.ts";
import { circuitBreaker, fault, outlierDetection, rateLimits, retry } from "./schema-resilience.ts";
import { registry } from "./schema-source.ts";
import { balancingKeys } from "./schema-traffic.ts";
import { anyAddress, byDefault, duration, headers, integer, list, listenAddress, name, optional, required, text } from "./schema-values.ts";
import { choice, defaultsOf, type Output, object } from "./shape.ts";
import { parseAuthority, parseDnsServer, parseFilePath, parseHostName, parseRequestPath } from "./values.ts";

// Everything in a policy is held in memory and compiled at once.
const ENDPOINTS_MAX = 10_000;

const host = text("host", parseAuthority);

export const timeout = object({
	request: byDefault(duration, DEFAULTS.timeout.request, "The whole exchange, until the last byte of the answer's head."),
	connect: byDefault(duration, DEFAULTS.timeout.connect, "Until a new connection is accepted."),
	idle: byDefault(duration, DEFAULTS.timeout.idle, "Longest silence inside an answer's body, and how long a pooled connection stays unused."),
});

export const pool = object({
	maxConnections: byDefault(integer(1, 65_535), DEFAULTS.pool.maxConnections, "Connections per endpoint."),
	maxPending: byDefault(
		integer(0, 1_000_000),
		DEFAULTS.pool.maxPending,
		"Requests that wait for a connection, per endpoint; more are refused with `endpoint_overflow`.",
	),
	pendingTimeout: byDefault(duration, DEFAULTS.pool.pendingTimeout, "Longest wait for a connection; then `queue_timeout`."),
});

const endpoint = object({
	address: required(anyAddress, "host:port, or unix:/path of a socket."),
	weight: byDefault(integer(1, 1_000), DEFAULTS.endpointWeight, "Share of the requests, relative to the others."),
	zone: optional(name, "Where it runs."),
	priority: optional(integer(0, 127), "0, also where nothing is said, is used first; further ones as those before them fail."),
});

/** What stands in a file of endpoints. */
export const endpointListSchema = list(endpoint, { max: ENDPOINTS_MAX });

const dns = object({
	name: required(text("host name", parseHostName), "Full name to resolve (search domains and the hosts file are not consulted)."),
	port: optional(integer(1, 65_535), "Port of every address; needed with A and AAAA, given by the records with SRV."),
	type: byDefault(choice(["A", "AAAA", "SRV"]), DEFAULTS.dns.type, "Type of the records."),
	refresh: byDefault(duration, DEFAULTS.dns.refresh, "How often the name is resolved again; the last good answer is kept."),
	servers: byDefault(list(text("IP address, perhaps with a port", parseDnsServer), { max: 16 }), [], "Name servers; by default the system's."),
});

const healthCheck = object({
	kind: byDefault(choice(["http", "tcp"]), DEFAULTS.healthCheck.kind, "A GET request, or only a connection."),
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

/** What an upstream says about itself, or an entry of `policies` about it. */
export const policyKeys = {
	loadBalancing: byDefault(
		choice(["round-robin", "least-connections", "weighted", "random", "peak-ewma", "ring-hash", "maglev"]),
		DEFAULTS.loadBalancing,
		"How one of the healthy endpoints is chosen.",
	),
	...balancingKeys,
	timeout: byDefault(timeout, {}, "Time limits towards this upstream."),
	pool: byDefault(pool, {}, "Connections to each endpoint."),
	tls: optional(
		upstreamTls,
		"How its endpoints are reached: mutual TLS, ordinary TLS outside of the mesh, or plain text. `strict` where an identity is configured.",
	),
	circuitBreaker: optional(circuitBreaker, "Rejects while the upstream fails, and bounds what is under way; without it neither."),
	outlierDetection: byDefault(outlierDetection, {}, "Endpoints that fail are left out for a while."),
	retry: byDefault(retry, {}, "What is tried again, and how often."),
	rateLimits: byDefault(rateLimits, [], "Limits for all requests to this upstream; each of them counts."),
	fault: optional(fault, "Faults that are injected on purpose, below breaker and retries."),
};

const defaults = object(policyKeys);

/** What holds for an upstream about which nobody says anything. */
export function upstreamDefaults(): Output<typeof defaults> {
	return defaultsOf(defaults);
}

export const upstream = object({
	listen: optional(listenAddress, "A port of its own on this side, for applications that cannot set a Host."),
	endpoints: optional(
		list(endpoint, { min: 1, max: ENDPOINTS_MAX }),
		"The instances, as a list. Exactly one of `endpoints`, `dns`, `file` and `registry` is given.",
	),
	dns: optional(dns, "The instances, as a DNS name."),
	file: optional(text("file path", parseFilePath), "The instances, as a YAML or JSON list in a file that is watched; relative to the policy file."),
	registry: optional(registry, "The instances that have registered at Nexus; needs `nexus.url`."),
	protocol: byDefault(choice(["http1"]), "http1", "What the endpoints speak."),
	...policyKeys,
	healthCheck: optional(healthCheck, "Active checks; without it every endpoint counts as healthy."),
});

export type EndpointConfig = Output<typeof endpoint>;
export type UpstreamConfig = Output<typeof upstream>;
