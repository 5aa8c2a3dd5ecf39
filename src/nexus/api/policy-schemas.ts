/** Shapes of the API of policies and services. */
import { z } from "@hono/zod-openapi";
import { isRefusal } from "../../policy/fault.ts";
import { parseDuration, parseTcpAddress } from "../../policy/values.ts";
import { faultDocument, reportDocument } from "../policy/instance-reports.ts";
import { POLICY_BYTES_MAX, REASON_CHARS_MAX, type Stage } from "../policy/policy-records.ts";
import { DEFAULT_PLAN, EVERYBODY, type RolloutPlan } from "../policy/rollout-steps.ts";
import { INSTANCE_NAME, SERVICE_NAME } from "../registry/instance.ts";
import { nextPlace } from "./pages.ts";

/** Longer than a poll needs to be; shorter than what boxes in between cut. */
const WAIT_MAX_MS = 60_000;
const STAGES_MAX = 10;
const DAY_MS = 24 * 3_600_000;
/** As the policy key `nexus.register.lease`. */
const LEASE_MIN_MS = 3_000;
const LEASE_MAX_MS = 5 * 60_000;
/** Services that one sidecar follows: as many upstreams as a policy has. */
const FOLLOWED_MAX = 2_000;

const duration = (description: string, minMs: number, maxMs: number, range: string, example = "30s") =>
	z
		.string()
		.max(64)
		.transform((given, context): number => {
			const ms = parseDuration(given);
			if (!isRefusal(ms) && ms >= minMs && ms <= maxMs) return ms;
			context.issues.push({ code: "custom", message: isRefusal(ms) ? `${ms.refused}: ${ms.hint}` : `is out of range: ${range}`, input: given });
			return z.NEVER;
		})
		.openapi({ type: "string", description, example });

export const serviceName = z.string().regex(SERVICE_NAME, "is no name of a service");
export const instanceName = z.string().regex(INSTANCE_NAME, "is no name of an instance");
export const serviceParams = z.object({ service: serviceName });
export const versionParams = z.object({ service: serviceName, version: z.string().regex(/^\d{1,9}$/) });
export const instanceParams = z.object({ service: serviceName, instance: instanceName });

const reason = z.string().max(REASON_CHARS_MAX).default("").openapi({ description: "Why, for people." });

const stage = z
	.string()
	.transform((given, context): Stage => {
		const [, count, share] = /^(?:([1-9]\d{0,4})|([1-9]\d?|100) ?%)$/.exec(given) ?? [];
		if (given === "all") return EVERYBODY;
		if (count !== undefined) return { instances: Number(count) };
		if (share !== undefined) return { percent: Number(share) };
		context.issues.push({ code: "custom", message: "is no stage: 1, 10%, all", input: given });
		return z.NEVER;
	})
	.openapi({ type: "string", description: "A number of instances, a share of them, or `all`.", example: "10%" });

const plan = z.strictObject({
	stages: z
		.array(stage)
		.min(1)
		.max(STAGES_MAX)
		.optional()
		.openapi({ description: "One after the other; `all` comes last in any case. By default 1, 10%, all." }),
	hold: duration("How long each stage is looked at, at least. By default 30s.", 0, DAY_MS, "at most 24h").optional(),
	patience: duration(
		"How long instances are given to take it, and a stage to have requests to be judged by. By default 3m.",
		1_000,
		DAY_MS,
		"from 1s to 24h",
		"3m",
	).optional(),
	requests: z.int().min(20).max(1_000_000).optional().openapi({ description: "With it and without, before a stage counts as fine. By default 100." }),
});

/** Undefined: everybody at once. */
const rollout = z
	.union([z.enum(["staged", "at-once"]), plan])
	.default("staged")
	.transform((given): RolloutPlan | undefined => {
		if (given === "at-once") return undefined;
		if (given === "staged") return DEFAULT_PLAN;
		const stages = (given.stages ?? DEFAULT_PLAN.stages).filter((each) => !("percent" in each && each.percent === 100));
		return {
			stages: [...stages, EVERYBODY],
			holdMs: given.hold ?? DEFAULT_PLAN.holdMs,
			patienceMs: given.patience ?? DEFAULT_PLAN.patienceMs,
			minRequests: given.requests ?? DEFAULT_PLAN.minRequests,
		};
	});

export const policyRequest = z
	.strictObject({ policy: z.string().max(POLICY_BYTES_MAX).openapi({ description: "The text, YAML." }), reason, rollout })
	.openapi("PolicyRequest");

export const rollbackRequest = z
	.strictObject({
		to: z.int().positive().optional().openapi({ description: "By default: ends what is being rolled out, else the version before this one." }),
		reason,
	})
	.openapi("RollbackRequest");

export const putAnswer = z
	.object({
		service: z.string(),
		version: z.int(),
		changed: z.boolean().openapi({ description: "False where this text is in force already." }),
		rollout: z.enum(["staged", "at-once", "none"]),
	})
	.openapi("PolicyPut");

export const policyProblem = z
	.looseObject({
		status: z.int(),
		title: z.string(),
		faults: z
			.array(z.object({ place: z.string(), line: z.int(), column: z.int(), width: z.int(), path: z.string(), message: z.string(), hint: z.string() }))
			.optional(),
	})
	.openapi("PolicyProblem", { description: "RFC 9457; `faults` where the policy is wrong." });

const versionHead = z.object({
	version: z.int(),
	hash: z.string(),
	author: z.string(),
	reason: z.string(),
	createdAt: z.string().openapi({ format: "date-time" }),
	restores: z.int().nullable().openapi({ description: "The version whose text this is again." }),
});

export const policyAnswer = versionHead
	.extend({ service: z.string(), policy: z.string().openapi({ description: "The text, YAML." }), current: z.boolean() })
	.openapi("Policy");

export const versionsAnswer = z.object({ service: z.string(), current: z.int(), versions: z.array(versionHead) }).openapi("PolicyVersions");

const shownRollout = z.object({
	version: z.int(),
	from: z.int(),
	stage: z.string(),
	stages: z.array(z.string()),
	instances: z.array(z.string()),
	startedAt: z.string(),
	stageSince: z.string(),
});

const shownOutcome = z.object({ version: z.int(), state: z.enum(["completed", "rolled_back"]), reason: z.string(), at: z.string() });

export const statusAnswer = z
	.object({
		service: z.string(),
		latest: z.int(),
		current: z.int(),
		rollout: shownRollout.nullable(),
		lastRollout: shownOutcome.nullable(),
		instances: z.array(
			z.object({
				instance: z.string(),
				version: z.int().openapi({ description: "That it runs; 0: its own file alone." }),
				since: z.string().nullable(),
				wanted: z.int(),
				state: z.enum(["current", "pending", "rejected"]),
				rejected: z.object({ version: z.int(), faults: z.array(faultDocument) }).nullable(),
				silentMs: z.int().openapi({ description: "Since it was heard." }),
			}),
		),
	})
	.openapi("PolicyStatus");

export const policiesAnswer = z
	.object({
		policies: z.array(
			z.object({ service: z.string(), current: z.int(), latest: z.int(), instances: z.int(), upToDate: z.int(), rollout: shownRollout.nullable() }),
		),
		next: nextPlace,
	})
	.openapi("Policies");

export const syncRequest = z
	.strictObject({
		instance: instanceName,
		have: z.string().max(64).openapi({ description: "Tag of the last answer; empty for the first time." }),
		...reportDocument.shape,
		wait: duration("How long to wait for something else to run.", 0, WAIT_MAX_MS, "at most 60s").default(0),
	})
	.openapi("PolicySync");

export const syncAnswer = z
	.object({
		version: z.int().openapi({ description: "0: there is none." }),
		tag: z.string(),
		policy: z.string().nullable(),
		author: z.string(),
		reason: z.string(),
	})
	.openapi("PolicySyncAnswer");

export const registration = z
	.strictObject({
		address: z
			.string()
			.max(300)
			.refine((given) => !isRefusal(parseTcpAddress(given.startsWith(":") ? `h${given}` : given, 1)), "is no host:port, or :port")
			.openapi({ description: "Where its inbound listener is reached; `:15006` alone stands for the address that this request comes from." }),
		zone: serviceName.nullable().default(null),
		version: z.string().max(64).default(""),
		health: z.enum(["ready", "draining"]).default("ready"),
		lease: duration("How long it is listed without being heard.", LEASE_MIN_MS, LEASE_MAX_MS, "from 3s to 5m").default(30_000),
	})
	.openapi("Registration");

export const registrationAnswer = z.object({ address: z.string(), leaseMs: z.int() }).openapi("Registered");

export const servicesAnswer = z
	.object({
		services: z.array(
			z.object({
				service: z.string(),
				instances: z.array(
					z.object({
						instance: z.string(),
						address: z.string(),
						zone: z.string().nullable(),
						version: z.string(),
						health: z.enum(["ready", "draining"]),
						since: z.string(),
						silentMs: z.int(),
						policyVersion: z.int().nullable().openapi({ description: "Of Nexus; null where it takes none from here." }),
					}),
				),
			}),
		),
		next: nextPlace,
	})
	.openapi("Services");

export const followRequest = z
	.strictObject({
		services: z
			.record(serviceName, z.string().max(64))
			.refine((given) => Object.keys(given).length <= FOLLOWED_MAX, `has more than ${FOLLOWED_MAX} services`)
			.openapi({ description: "By service: the tag of the list that the caller has; empty for the first time." }),
		wait: duration("How long to wait for another list.", 0, WAIT_MAX_MS, "at most 60s").default(0),
	})
	.openapi("FollowServices");

export const followAnswer = z
	.object({
		services: z.record(z.string(), z.object({ tag: z.string(), endpoints: z.array(z.object({ address: z.string(), zone: z.string().optional() })) })),
	})
	.openapi("FollowedServices", { description: "Those whose list is another one." });
