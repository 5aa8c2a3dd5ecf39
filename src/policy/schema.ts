/**
 * The keys of the policy file: the one source of what is accepted, of the JSON Schema that editors use and of docs/policy.md.
 * A key stands here only once it acts.
 */

import { DEFAULTS } from "./defaults.ts";
import { isRefusal, type Refusal, refuse } from "./fault.ts";
import { parseBytes } from "./resilience-values.ts";
import { authorization } from "./schema-authorization.ts";
import { identity, inboundTls } from "./schema-identity.ts";
import { circuitBreaker, rateLimits } from "./schema-resilience.ts";
import { policySource, register } from "./schema-source.ts";
import { route } from "./schema-traffic.ts";
import { policyKeys, pool, timeout, upstream } from "./schema-upstream.ts";
import {
	anyAddress,
	byDefault,
	duration,
	flag,
	fraction,
	integer,
	list,
	listenAddress,
	NAME_PATTERN,
	name,
	oneOrMore,
	optional,
	required,
	text,
	textOrNumber,
	unspoken,
} from "./schema-values.ts";
import { choice, type Output, object, record, told } from "./shape.ts";
import { parseCidr, parseFilePath, parseHostName, parseHttpUrl, parseParty } from "./values.ts";

// Everything in a policy is held in memory and compiled at once.
const ROUTES_MAX = 10_000;
// Each is looked at for each upstream.
const POLICIES_MAX = 1_000;

export const limits = object({
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

const inbound = object({
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
	rateLimits: byDefault(rateLimits, [], "Limits for all requests to this service; each of them counts."),
	tls: optional(inboundTls, "Who may connect: TLS with a certificate of the mesh, plain text, or both. `strict` where an identity is configured."),
	authorization: optional(authorization, "Who may call this service. Without it: anybody."),
	circuitBreaker: optional(circuitBreaker, "Rejects while the application fails, and bounds what is under way; without it neither."),
});

const outbound = object({
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

const upstreams = record(upstream, NAME_PATTERN);

const policies = list(
	object({
		name: optional(name, "For people."),
		from: byDefault(oneOrMore("name, or `*`", parseParty, 1_000), "*", "Services whose sidecars act on it; others read over it."),
		to: required(
			oneOrMore("name, or `*`", parseParty, 1_000),
			"Upstreams that it speaks about. Names that this policy does not have are read over, unless `from` names this service.",
		),
		...unspoken(policyKeys),
	}),
	{ max: POLICIES_MAX },
);

// Less could not hold a file of each priority; more would cost the sidecar tens of MB of memory for what it knows of each event.
const SPOOL_BYTES_MIN = 1024 * 1024;
const SPOOL_BYTES_MAX = 1024 * 1024 * 1024;

function parseSpoolBytes(written: string): number | Refusal {
	const bytes = parseBytes(written, SPOOL_BYTES_MAX);
	return isRefusal(bytes) || bytes >= SPOOL_BYTES_MIN ? bytes : refuse("is too small", "at least 1MiB");
}

const nexus = object({
	url: required(text("URL", parseHttpUrl, "^https?://"), "Base URL of Nexus."),
	spool: byDefault(
		object({
			maxEvents: byDefault(
				integer(1, 1_000_000),
				DEFAULTS.spoolMaxEvents,
				"Events in memory while Nexus is away; beyond that the oldest of the least important go, to disk where `dir` is set.",
			),
			dir: optional(
				text("directory", parseFilePath),
				"Keeps every event on disk until Nexus has it, so that it survives the end of the sidecar; relative to the policy file, one for each sidecar.",
			),
			maxBytes: byDefault(
				textOrNumber("size", parseSpoolBytes, "^[0-9]+(B|kB|KiB|MB|MiB)?$"),
				DEFAULTS.spoolMaxBytes,
				"Of the files in `dir`, 1MiB to 1024MiB. When they are full, the oldest of the least important events go.",
			),
		}),
		{},
		"Where events wait that are not delivered yet.",
	),
	register: optional(register, "Lists this instance at Nexus, for upstreams with `registry: nexus`; needs `inbound`."),
});

const tracing = object({
	otlp: optional(text("URL", parseHttpUrl, "^https?://"), "Base URL of an OTLP/HTTP collector; without it no spans are made."),
	sample: optional(
		fraction,
		`Fraction of the traces that begin here, 0 to 1; ${DEFAULTS.tracingSample} where nothing is said. Others follow their parent.`,
	),
	allow: byDefault(
		list(text("CIDR block", parseCidr), { max: 1_000 }),
		[...DEFAULTS.traceAllow],
		"Addresses whose `x-nexus-trace` is answered with the decisions about their request.",
	),
});

const accessLog = object({
	sample: byDefault(fraction, DEFAULTS.accessLogSample, "Fraction of the requests that are logged, 0 to 1."),
	format: byDefault(choice(["json"]), "json", "One JSON object per line."),
});

const keys = object({
	service: required(name, "Name of the service that this sidecar stands next to."),
	trustDomain: byDefault(text("host name", parseHostName), DEFAULTS.trustDomain, "Domain of the mesh's identities: spiffe://DOMAIN/SERVICE."),
	admin: byDefault(
		object({ listen: byDefault(listenAddress, DEFAULTS.adminListen, "Address of the admin API; loopback unless changed.") }),
		{},
		"The admin API of the sidecar.",
	),
	zone: optional(name, "Where this sidecar runs; see `zoneAware`."),
	identity: optional(identity, "Who this service is to others: the source of its certificate. Without it TLS between services is off."),
	inbound: optional(inbound, "Traffic from others to this service. At least one of `inbound` and `outbound` is given."),
	outbound: optional(outbound, "Traffic from this service to others."),
	upstreams: byDefault(upstreams, {}, "The services that this one calls, by name."),
	policies: byDefault(
		policies,
		[],
		"From a source service to its destinations: fills what the upstream itself does not say, key by key. Later entries win over earlier ones.",
	),
	nexus: optional(nexus, "Where events go; without it nowhere."),
	policy: optional(policySource, "Where more of the policy comes from. Without it this file is all."),
	tracing: optional(tracing, "Spans for OpenTelemetry, and who may ask for a decision trace."),
	accessLog: optional(accessLog, "The access log; without it none is written."),
	drainTimeout: byDefault(duration, DEFAULTS.drainTimeout, "How long requests in flight may take to finish when the sidecar stops."),
});
export const policySchema = told(keys, { title: "Nexus Mesh policy" });

export type PolicyConfig = Output<typeof policySchema>;
