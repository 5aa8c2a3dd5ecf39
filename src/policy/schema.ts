/**
 * The keys of the policy file: the one source of what is accepted, of the JSON Schema that editors use and of docs/policy.md.
 * A key stands here only once it acts.
 */
import { z } from "zod";
import { DEFAULTS } from "./defaults.ts";
import { isRefusal, type Refusal } from "./fault.ts";
import { parsePathMatch } from "./path-pattern.ts";
import {
	parseAddress,
	parseAuthority,
	parseCidr,
	parseDnsServer,
	parseDuration,
	parseFieldName,
	parseFieldValue,
	parseFilePath,
	parseHostName,
	parseHostPattern,
	parseHttpUrl,
	parseMethod,
	parseName,
	parseRequestPath,
	parseTcpAddress,
} from "./values.ts";

// The deadlines of the data plane tick every 50 ms (core/deadline-wheel.ts), so shorter ones would be a promise not kept.
const DURATION_MIN_MS = 100;
const DURATION_MAX_MS = 24 * 3_600_000;
// Everything in a policy is held in memory and compiled at once.
const ROUTES_MAX = 10_000;
const ENDPOINTS_MAX = 10_000;

/** `message\nhint`: the form in which a refusal travels through the schema library. */
export function says({ refused, hint }: Refusal): string {
	return `${refused}\n${hint}`;
}

/** A string that `parse` reads; `title` and `pattern` are for the JSON Schema and the docs. */
function text<T extends NonNullable<unknown>>(title: string, parse: (text: string) => T | Refusal, pattern?: string) {
	return z
		.string({ error: ({ input }) => (typeof input === "number" || typeof input === "boolean" ? says(parseOther(parse, input)) : undefined) })
		.transform((given, context): T => {
			const value = parse(given);
			if (!isRefusal(value)) return value;
			context.issues.push({ code: "custom", message: says(value), input: given });
			return z.NEVER;
		})
		.meta(pattern === undefined ? { title } : { title, pattern });
}

/** A bare `5` where a duration belongs gets the answer that the text `5` would get. */
function parseOther(parse: (text: string) => unknown, given: number | boolean): Refusal {
	const value = parse(String(given));
	return isRefusal(value) ? value : { refused: "is not text", hint: `put it in quotes: "${given}"` };
}

const duration = text("duration", parseBoundedDuration, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$");
const listenAddress = text("address to listen on", (t) => parseTcpAddress(t, 0), "^(\\[[^\\]]*\\]|[^:]+):[0-9]+$");
const anyAddress = text("address", parseAddress, "^(unix:/.*|(\\[[^\\]]*\\]|[^:]+):[0-9]+)$");
const name = text("name", parseName, "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$");
const requestPath = text("path", parseRequestPath, "^/");

function parseBoundedDuration(given: string): number | Refusal {
	const ms = parseDuration(given);
	if (typeof ms !== "number") return ms;
	if (ms < DURATION_MIN_MS) return { refused: "is too short", hint: `at least ${DURATION_MIN_MS}ms` };
	return ms > DURATION_MAX_MS ? { refused: "is too long", hint: "at most 24h" } : ms;
}

// What comes from the environment is text, so numbers and booleans may be written as text.
function integer(min: number, max: number) {
	return z.preprocess((v) => (typeof v === "string" && /^\d{1,9}$/.test(v) ? Number(v) : v), z.number().int().min(min).max(max));
}
const fraction = z.preprocess((v) => (typeof v === "string" && /^\d+(\.\d+)?$/.test(v) ? Number(v) : v), z.number().min(0).max(1));
const boolean = z.preprocess((v) => (v === "true" ? true : v === "false" ? false : v), z.boolean());

const headers = z.record(z.string(), text("header value", parseFieldValue)).transform((given, context) => {
	const fields = new Map<string, string>();
	for (const [key, value] of Object.entries(given)) {
		const field = parseFieldName(key);
		if (isRefusal(field)) context.issues.push({ code: "custom", message: says(field), input: key, path: [key], params: { key: true } });
		else fields.set(field, value);
	}
	return fields;
});

const limits = z.strictObject({
	maxConnections: integer(1, 1_000_000)
		.prefault(DEFAULTS.limits.maxConnections)
		.meta({ description: "Connections accepted at a time; more are refused with `connection_limit`." }),
	requestHeadTimeout: duration
		.prefault(DEFAULTS.limits.requestHeadTimeout)
		.meta({ description: "From the first byte of a request head to its last; a slower client gets 408." }),
	bodyIdleTimeout: duration.prefault(DEFAULTS.limits.bodyIdleTimeout).meta({ description: "Longest silence inside a request body." }),
	keepAliveIdleTimeout: duration
		.prefault(DEFAULTS.limits.keepAliveIdleTimeout)
		.meta({ description: "How long a kept-alive connection may stay without a request." }),
});

const timeout = z.strictObject({
	request: duration.prefault(DEFAULTS.timeout.request).meta({ description: "The whole exchange, until the last byte of the answer's head." }),
	connect: duration.prefault(DEFAULTS.timeout.connect).meta({ description: "Until a new connection is accepted." }),
	idle: duration
		.prefault(DEFAULTS.timeout.idle)
		.meta({ description: "Longest silence inside an answer's body, and how long a pooled connection stays unused." }),
});

const pool = z.strictObject({
	maxConnections: integer(1, 65_535).prefault(DEFAULTS.pool.maxConnections).meta({ description: "Connections per endpoint." }),
	maxPending: integer(0, 1_000_000)
		.prefault(DEFAULTS.pool.maxPending)
		.meta({ description: "Requests that wait for a connection, per endpoint; more are refused with `endpoint_overflow`." }),
	pendingTimeout: duration.prefault(DEFAULTS.pool.pendingTimeout).meta({ description: "Longest wait for a connection; then `queue_timeout`." }),
});

const inbound = z.strictObject({
	listen: listenAddress.prefault(DEFAULTS.inboundListen).meta({ description: "Where other services reach this one." }),
	application: anyAddress.meta({ description: "Where the application itself listens: host:port, or unix:/path of a socket." }),
	limits: limits.prefault({}).meta({ description: "Limits of the inbound listener." }),
	trustedProxies: z
		.array(text("CIDR block", parseCidr))
		.max(1_000)
		.prefault([])
		.meta({ description: "Peers whose `x-forwarded-*` and `x-request-id` are believed; nobody's by default." }),
	timeout: timeout.prefault({}).meta({ description: "Time limits towards the application." }),
	pool: pool.prefault({}).meta({ description: "Connections to the application." }),
});

const match = z.strictObject({
	host: text("host pattern", parseHostPattern)
		.optional()
		.meta({ description: "Host without its port: a name, or `*.suffix`. Without it: every host." }),
	path: text("path pattern", parsePathMatch, "^/")
		.optional()
		.meta({ description: "`/a/b` exactly; `/a/**` for /a and all below; `*` for any part of one segment, `**` for any number of segments." }),
	method: text("method", parseMethod).optional().meta({ description: "One method; `methods` takes several." }),
	methods: z.array(text("method", parseMethod)).min(1).max(32).optional().meta({ description: "Methods, in capitals. Without it: every method." }),
	headers: headers.optional().meta({ description: "Headers that must be present with exactly these values." }),
});

const route = z.strictObject({
	name: name.meta({ description: "Unique; stands in logs, metrics and events." }),
	match: match.prefault({}).meta({ description: "All conditions that are given must hold." }),
	to: name.meta({ description: "Name of an upstream of this policy." }),
	rewrite: z
		.strictObject({ host: text("host", parseAuthority).meta({ description: "Replaces the Host field towards the upstream." }) })
		.optional()
		.meta({ description: "What is changed on the way; by default nothing." }),
});

const outbound = z.strictObject({
	listen: listenAddress
		.prefault(DEFAULTS.outboundListen)
		.meta({ description: "Where this service's application sends its requests: by Host field, or as `HTTP_PROXY`." }),
	passthrough: boolean
		.prefault(false)
		.meta({ description: "Whether requests to hosts outside the mesh are passed on; otherwise refused with `no_route`." }),
	limits: limits.prefault({}).meta({ description: "Limits of the outbound listener." }),
	routes: z
		.array(route)
		.max(ROUTES_MAX)
		.prefault([])
		.meta({ description: "The first that matches wins. Without routes the Host names the upstream." }),
});

const endpoint = z.strictObject({
	address: anyAddress.meta({ description: "host:port, or unix:/path of a socket." }),
	weight: integer(1, 1_000).prefault(DEFAULTS.endpointWeight).meta({ description: "Share of the requests, relative to the others." }),
	zone: name.optional().meta({ description: "Where it runs." }),
});

/** What stands in a file of endpoints. */
export const endpointListSchema = z.array(endpoint).max(ENDPOINTS_MAX);

const dns = z.strictObject({
	name: text("host name", parseHostName).meta({ description: "Name to resolve." }),
	port: integer(1, 65_535).optional().meta({ description: "Port of every address; needed with A and AAAA, given by the records with SRV." }),
	type: z.enum(["A", "AAAA", "SRV"]).prefault(DEFAULTS.dns.type).meta({ description: "Type of the records." }),
	refresh: duration.prefault(DEFAULTS.dns.refresh).meta({ description: "How often the name is resolved again; the last good answer is kept." }),
	servers: z
		.array(text("IP address, perhaps with a port", parseDnsServer))
		.max(16)
		.prefault([])
		.meta({ description: "Name servers; by default the system's." }),
});

const healthCheck = z.strictObject({
	kind: z.enum(["http", "tcp"]).prefault(DEFAULTS.healthCheck.kind).meta({ description: "A GET request, or only a connection." }),
	path: requestPath.prefault(DEFAULTS.healthCheck.path).meta({ description: "Path that is asked for (http)." }),
	host: text("host", parseAuthority).optional().meta({ description: "Host field of the check (http); by default the endpoint's address." }),
	headers: headers.prefault({}).meta({ description: "Further headers of the check (http)." }),
	statuses: z
		.array(integer(100, 599))
		.min(1)
		.max(100)
		.prefault([...DEFAULTS.healthCheck.statuses])
		.meta({ description: "Statuses that count as healthy (http)." }),
	interval: duration.prefault(DEFAULTS.healthCheck.interval).meta({ description: "Between two checks of one endpoint, with jitter." }),
	timeout: duration.prefault(DEFAULTS.healthCheck.timeout).meta({ description: "Longest that a check may take." }),
	unhealthyThreshold: integer(1, 100)
		.prefault(DEFAULTS.healthCheck.unhealthyThreshold)
		.meta({ description: "Failures in a row until the endpoint is unhealthy." }),
	healthyThreshold: integer(1, 100)
		.prefault(DEFAULTS.healthCheck.healthyThreshold)
		.meta({ description: "Successes in a row until it is healthy again; one is enough at the start." }),
});

const upstream = z.strictObject({
	listen: listenAddress.optional().meta({ description: "A port of its own on this side, for applications that cannot set a Host." }),
	endpoints: z
		.array(endpoint)
		.min(1)
		.max(ENDPOINTS_MAX)
		.optional()
		.meta({ description: "The instances, as a list. Exactly one of `endpoints`, `dns` and `file` is given." }),
	dns: dns.optional().meta({ description: "The instances, as a DNS name." }),
	file: text("file path", parseFilePath)
		.optional()
		.meta({ description: "The instances, as a YAML or JSON list in a file that is watched; relative to the policy file." }),
	protocol: z.enum(["http1"]).prefault("http1").meta({ description: "What the endpoints speak." }),
	loadBalancing: z
		.enum(["round-robin", "least-connections", "weighted", "random"])
		.prefault(DEFAULTS.loadBalancing)
		.meta({ description: "How one of the healthy endpoints is chosen." }),
	healthCheck: healthCheck.optional().meta({ description: "Active checks; without it every endpoint counts as healthy." }),
	timeout: timeout.prefault({}).meta({ description: "Time limits towards this upstream." }),
	pool: pool.prefault({}).meta({ description: "Connections to each endpoint." }),
});

export const policySchema = z
	.strictObject({
		service: name.meta({ description: "Name of the service that this sidecar stands next to." }),
		trustDomain: text("host name", parseHostName)
			.prefault(DEFAULTS.trustDomain)
			.meta({ description: "Domain of the mesh's identities: spiffe://DOMAIN/SERVICE." }),
		admin: z
			.strictObject({
				listen: listenAddress.prefault(DEFAULTS.adminListen).meta({ description: "Address of the admin API; loopback unless changed." }),
			})
			.prefault({})
			.meta({ description: "The admin API of the sidecar." }),
		inbound: inbound.optional().meta({ description: "Traffic from others to this service. At least one of `inbound` and `outbound` is given." }),
		outbound: outbound.optional().meta({ description: "Traffic from this service to others." }),
		upstreams: z
			.record(z.string(), upstream)
			.prefault({})
			.meta({ description: "The services that this one calls, by name.", propertyNames: { pattern: "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$" } }),
		nexus: z
			.strictObject({
				url: text("URL", parseHttpUrl, "^https?://").meta({ description: "Base URL of Nexus." }),
				spool: z
					.strictObject({
						maxEvents: integer(1, 1_000_000)
							.prefault(DEFAULTS.spoolMaxEvents)
							.meta({ description: "Events kept while Nexus is away; the oldest go first." }),
					})
					.prefault({})
					.meta({ description: "The memory for events that are not delivered yet." }),
			})
			.optional()
			.meta({ description: "Where events go; without it nowhere." }),
		accessLog: z
			.strictObject({
				sample: fraction.prefault(DEFAULTS.accessLogSample).meta({ description: "Fraction of the requests that are logged, 0 to 1." }),
				format: z.enum(["json"]).prefault("json").meta({ description: "One JSON object per line." }),
			})
			.optional()
			.meta({ description: "The access log; without it none is written." }),
		drainTimeout: duration
			.prefault(DEFAULTS.drainTimeout)
			.meta({ description: "How long requests in flight may take to finish when the sidecar stops." }),
	})
	.meta({ title: "Nexus Mesh policy" });

export type PolicyConfig = z.output<typeof policySchema>;
export type EndpointConfig = z.output<typeof endpoint>;
export type UpstreamConfig = z.output<typeof upstream>;

/** The key names that `root` knows at a place, or nothing where any name may stand. */
export function keysAt(root: z.core.$ZodType, path: readonly (string | number)[]): readonly string[] {
	let schema = root;
	for (const step of path) {
		const inner: z.core.$ZodType | undefined = childOf(unwrap(schema), step);
		if (inner === undefined) return [];
		schema = inner;
	}
	const plain = unwrap(schema);
	return plain instanceof z.ZodObject ? Object.keys(plain.shape) : [];
}

function childOf(schema: z.core.$ZodType, step: string | number): z.core.$ZodType | undefined {
	if (schema instanceof z.ZodObject) return schema.shape[step];
	if (schema instanceof z.ZodRecord) return schema.valueType;
	return schema instanceof z.ZodArray ? schema.element : undefined;
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
	if (schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return unwrap(schema.unwrap());
	return schema;
}
