/**
 * The schemas of every `nexus.*` event. Written as shapes that the compiler holds against the catalogue's types, so that the two cannot say different
 * things; a test holds that none is missing. Further members are allowed: a sidecar may be newer than this Nexus.
 */
import { z } from "zod";
import { NEXUS_EVENT_TYPES, type NexusEventData, type NexusEventType } from "../../events/catalogue.ts";
import type { JsonObject } from "./schema-document.ts";

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const windowMs = z.number().min(0).describe("Length of the window, in milliseconds.");
const direction = z.enum(["inbound", "outbound"]).describe("As the sidecar sees it: others to its service, or its service to others.");
const upstream = z.string().describe("The service that was called.");
const endpoint = z.string().describe("Address and port.");
const policy = z.string().describe("`file:line:column` of what was written; empty where nobody wrote it.");
const subscription = z.string().describe("Its name.");
const spiffeId = z.string().describe("SPIFFE ID.");

const endpointHealth = z.object({
	upstream,
	endpoint,
	kind: z.string().describe("Of the check: http or tcp."),
	lastError: z.string().describe("Of the last failed check; empty where there was none."),
	consecutive: count.describe("Checks in a row with this result."),
});

const ejection = z.object({
	upstream,
	endpoint,
	cause: z.string().describe("Which detector saw it."),
	ejections: count.describe("How often it has been ejected."),
	policy,
});

const breaker = z.object({
	service: z.string().describe("Who calls."),
	dependency: z.string().describe("The upstream that is protected."),
	scope: z.enum(["upstream", "endpoint", "route"]),
	scopeKey: z.string().describe("The endpoint or the route; empty for the upstream as a whole."),
	cause: z.string().describe("What made the state change, in words."),
	counts: z.object({ consecutiveFailures: count, requests: count, failures: count, slowCalls: count }),
	lastErrors: z.array(z.string()).describe("Reasons or statuses of the last failures, newest first."),
	policy,
	at: z.string().meta({ format: "date-time", description: "When." }),
});

const rollout = z.object({
	service: z.string(),
	version: count.describe("The new one."),
	from: count.describe("What runs elsewhere, or again."),
	stage: z.string().describe("One instance, a share, or all."),
	instances: z.array(z.string()).describe("Whose turn it was; empty where it is everybody's."),
});

const SHAPES: { readonly [T in NexusEventType]?: z.ZodType<NexusEventData[T]> } = {
	"nexus.mesh.sidecar.started": z.object({
		version: z.string().describe("Of the program."),
		pid: count,
		policyVersion: count,
		policyHash: z.string(),
		listeners: z.record(z.string(), z.string()).describe("Address and port by purpose."),
		readyMs: z.number().min(0).describe("From process start to ready."),
	}),
	"nexus.mesh.sidecar.draining": z.object({
		cause: z.enum(["signal", "api"]),
		inFlight: count.describe("Exchanges that had begun."),
		drainTimeoutMs: z.number().min(0),
	}),
	"nexus.mesh.sidecar.stopped": z.object({ uptimeMs: z.number().min(0), cut: count.describe("Exchanges cut because the drain timeout ran out.") }),
	"nexus.mesh.traffic.routed": z.object({
		windowMs,
		direction,
		route: z.string().describe("Empty where the Host alone named the upstream."),
		upstream,
		outcome: z.string().describe("A status class, or the reason of a local answer."),
		count,
		latency: z.object({
			boundsMs: z.array(z.number()).describe("Upper bounds of the counts; the last count is beyond all."),
			counts: z.array(count),
			sumMs: z.number().min(0),
		}),
	}),
	"nexus.mesh.endpoint.unhealthy": endpointHealth,
	"nexus.mesh.endpoint.healthy": endpointHealth,
	"nexus.mesh.endpoint.ejected": ejection.extend({ forMs: z.number().min(0).describe("For how long.") }),
	"nexus.mesh.endpoint.returned": ejection.extend({
		by: z.enum(["time", "health-check", "policy"]).describe("The time is over, an active check was fine, or the policy has changed."),
	}),
	"nexus.mesh.retry.budget_exhausted": z.object({ windowMs, upstream, refused: count.describe("Tries that the budget refused."), policy }),
	"nexus.mesh.rate_limit.exceeded": z.object({
		windowMs,
		direction,
		limit: z.string().describe("Its name."),
		policy,
		refused: count,
		top: z.array(z.object({ key: z.string(), refused: count })).describe("The keys that were refused most often."),
	}),
	"nexus.mesh.fault.injected": z.object({ windowMs, fault: z.string(), upstream, kind: z.string(), count, endpoints: z.array(z.string()) }),
	"nexus.chaos.inject.failure": z.object({
		fault: z.string(),
		upstream,
		kind: z.string(),
		percent: z.number().min(0).max(100),
		change: z.enum(["added", "replaced", "removed", "expired"]),
		expiresAt: z.string().describe("ISO 8601; empty where it holds until the policy changes."),
	}),
	"nexus.mesh.mtls.failure": z.object({
		windowMs,
		count: count.describe("In this window."),
		kind: z.enum(["connection", "cut"]).describe("Not made or not let in; or cut, because its peer is not trusted any more."),
		direction: z.enum(["inbound", "outbound", ""]).describe("Empty for cuts."),
		name: z.string().describe("`inbound`, or the upstream; empty for cuts."),
		reason: z.string().describe("`others` for what was beyond the different failures of one window."),
		words: z.string(),
		hint: z.string(),
		endedBy: z.enum(["us", "peer", "neither"]),
		address: z.string().describe("Of the last one: the endpoint, or the caller."),
		self: spiffeId,
		expected: z.string().describe("SPIFFE ID, or a host name, that was meant."),
		peer: z.string().describe("SPIFFE ID that the peer claims, which nothing has proven."),
		role: z.enum(["leaf", "intermediate", "root", ""]).describe("Of the certificate at fault."),
		subject: z.string(),
		issuer: z.string(),
		serial: z.string(),
		notBefore: z.string().describe("ISO 8601."),
		notAfter: z.string().describe("ISO 8601."),
	}),
	"nexus.mesh.authorization.denied": z.object({
		windowMs,
		count: count.describe("In this window."),
		kind: z.enum(["rule", "default", "others"]).describe("`others` for what was beyond the different pairs of rule and caller of one window."),
		rule: z.string().describe("Empty unless `kind` is `rule`."),
		policy,
		caller: z.string().describe("SPIFFE ID; empty for an unauthenticated caller, and for others."),
		address: z.string().describe("Of the last one."),
		method: z.string(),
		path: z.string().describe("In its normal form, without the query."),
	}),
	"nexus.mesh.certificate.rotated": z.object({
		identity: spiffeId,
		oldSerial: z.string(),
		newSerial: z.string(),
		issuer: z.string(),
		notAfter: z.string().describe("When the new one ends, ISO 8601."),
	}),
	"nexus.mesh.certificate.expiring": z.object({
		identity: spiffeId,
		serial: z.string(),
		notAfter: z.string().describe("When it ends, ISO 8601."),
		leftMs: z.number().min(0).describe("Until then; 0 where it has ended."),
		expired: z.boolean(),
		failures: count.describe("Renewals in a row that have failed."),
		lastError: z.string().describe("What the last one said; empty where none has been tried."),
	}),
	"nexus.circuit_breaker.tripped": breaker.extend({ openForMs: z.number().min(0).describe("Until it lets probes through.") }),
	"nexus.circuit_breaker.half_open": breaker,
	"nexus.circuit_breaker.reset": breaker,
	"nexus.mesh.policy.applied": z.object({
		version: count,
		hash: z.string(),
		changed: z.record(z.string(), z.array(z.string())).describe("Names by section that were added, changed or removed."),
	}),
	"nexus.mesh.policy.rejected": z.object({
		faults: z.array(z.object({ place: z.string().describe("`file:line:column`"), message: z.string(), hint: z.string() })),
	}),
	"nexus.policy.rollout.started": rollout.extend({ author: z.string().describe("Identity, or name of the token."), reason: z.string() }),
	"nexus.policy.rollout.advanced": rollout.extend({ verdict: z.string().describe("What was found of those before.") }),
	"nexus.policy.rollout.completed": rollout,
	"nexus.policy.rollout.rolled_back": rollout.extend({
		cause: z.string().describe("Why, in words."),
		automatic: z.boolean().describe("Whether Nexus did so by itself."),
	}),
	"nexus.audit.mutation": z.object({
		actor: z.string().describe("Identity, or name of the token."),
		method: z.string(),
		path: z.string().describe("Of the API, without the query."),
		status: count,
		address: z.string().describe("Of the caller."),
	}),
	"nexus.bus.dead_letter.parked": z.object({
		subscription,
		member: z.string().describe("Of a broadcast: who did not get it; empty otherwise."),
		sequence: count.describe("Of the event, in the log."),
		type: z.string().describe("Of the event."),
		source: z.string(),
		id: z.string(),
		attempts: count.describe("All tries."),
		reason: z.string().describe("Of the last one."),
		status: count.describe("That the receiver answered; 0 where it did not."),
	}),
	"nexus.bus.subscription.stalled": z.object({
		subscription,
		cause: z.string().describe("As far as it is known, in words."),
		open: count.describe("Events under way, or waiting for a try."),
		unread: count.describe("Events of the log that were not looked at yet: an upper bound of those that are for it."),
		oldestAgeMs: z.number().min(0).describe("Since its receipt, of the oldest that is open."),
		stalledForMs: z.number().min(0),
	}),
	"nexus.bus.subscription.recovered": z.object({ subscription, stalledForMs: z.number().min(0) }),
};

/** JSON Schema 2020-12, by type. */
export const BUILT_IN_SCHEMAS: Readonly<Record<string, JsonObject>> = Object.freeze(
	Object.fromEntries(
		NEXUS_EVENT_TYPES.flatMap((type) => {
			const shape = SHAPES[type];
			return shape === undefined ? [] : [[type, jsonSchemaOf(shape)]];
		}),
	),
);

function jsonSchemaOf(shape: z.ZodType): JsonObject {
	// As input: members that are not named are allowed.
	const { $schema: _, ...schema } = z.toJSONSchema(shape, { target: "draft-2020-12", io: "input" });
	return Object.freeze(schema);
}
