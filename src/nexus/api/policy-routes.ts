/** The part of the API that distributes policies: people put them, sidecars sync with them. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import { placeText } from "../../policy/place-text.ts";
import type { Problem } from "../../server/problem.ts";
import type { Policies } from "../policy/policies.ts";
import type { PutFault, PutOutcome } from "../policy/policy-book.ts";
import { POLICY_BYTES_MAX, type PolicyVersion, type RolloutState } from "../policy/policy-records.ts";
import { stageText, wantedVersion } from "../policy/rollout-steps.ts";
import { SERVICE_NAME } from "../registry/instance.ts";
import type { StateFailed } from "../state/state-store.ts";
import { longPoll } from "./long-poll.ts";
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
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";

export interface PolicyRoutesOptions {
	readonly policies: Policies;
	readonly logger: Logger;
	readonly isDraining: () => boolean;
}

/** A policy as JSON, escaped, with what stands beside it. */
const BODY_BYTES_MAX = 2 * POLICY_BYTES_MAX;

export function addPolicyRoutes(routes: Routes, { policies, logger, isDraining }: PolicyRoutesOptions): void {
	routes.query(listRoute, "read", noQuery, () =>
		json(JSON.stringify({ policies: policies.book.services().map((service) => summary(policies, service)) })),
	);

	routes.query(getRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const head = policies.head(service);
		const found = head && (await policies.version(service, head.current));
		if (head === undefined || found === undefined) return problemResponse(noPolicy(service));
		return json(JSON.stringify(shownPolicy(service, found, head.current)), 200, { etag: `"${head.latest}"` });
	});

	routes.query(versionsRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const head = policies.head(service);
		if (head === undefined) return problemResponse(noPolicy(service));
		const versions = (await policies.book.versions(service)).map(shownVersion);
		return json(JSON.stringify({ service, current: head.current, versions }));
	});

	routes.query(versionRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const found = await policies.version(service, Number(c.req.param("version")));
		if (found === undefined) return problemResponse(noPolicy(service));
		return json(JSON.stringify(shownPolicy(service, found, policies.head(service)?.current ?? 0)));
	});

	routes.body(
		putRoute,
		"operate",
		policyRequest,
		async (c, { policy, reason, rollout }, who) => {
			const service = serviceOf(c);
			if (!SERVICE_NAME.test(service)) return problemResponse(badName(service));
			const expected = expectedVersion(c);
			if (typeof expected === "string")
				return problemResponse({ status: 400, title: "The precondition is not valid.", detail: expected, reason: "bad_request" });
			const outcome = await policies.put(service, { text: policy, author: who, reason, expected, plan: rollout });
			if (outcome.ok && outcome.isNew) logger.info("a policy was put", { service, version: outcome.version, by: who, reason });
			return answered(service, outcome, "head" in outcome && outcome.head.rollout !== null ? "staged" : "at-once");
		},
		BODY_BYTES_MAX,
	);

	routes.body(rollbackRoute, "operate", rollbackRequest, async (c, { to, reason }, who) => {
		const service = serviceOf(c);
		const outcome = await policies.rollback(service, { to, author: who, reason });
		if (outcome.ok) logger.info("a policy was taken back", { service, version: outcome.version, by: who, reason });
		return answered(service, outcome, "at-once");
	});

	routes.query(statusRoute, "read", noQuery, (c) => {
		const service = serviceOf(c);
		const status = statusOf(policies, service);
		return status === undefined ? problemResponse(noPolicy(service)) : json(JSON.stringify(status));
	});

	routes.body(syncRoute, "ingest", syncRequest, async (c, { instance, have, wait, ...report }) => {
		const service = serviceOf(c);
		if (!SERVICE_NAME.test(service)) return problemResponse(badName(service));
		const foreign = foreignService(c, service);
		if (foreign !== undefined) return problemResponse(foreign);
		if (isDraining()) return problemResponse(DRAINING);
		const kept = await policies.report(service, instance, report);
		if (!kept.ok && kept.failure !== "conflict")
			logger.warn("what an instance says of its policy was not kept", { service, instance, detail: kept.detail });
		return longPoll(c, {
			polls: policies.polls,
			topics: [service],
			waitMs: wait,
			hasNews: () => policies.wanted(service, instance).tag !== have,
			news: async () => {
				const { version, tag } = policies.wanted(service, instance);
				const found = version === 0 ? undefined : await policies.version(service, version);
				// Between two commits of another node: it comes again.
				if (version !== 0 && found === undefined) return undefined;
				const { author = "", reason = "" } = found ?? {};
				return JSON.stringify({ version, tag, policy: found?.text ?? null, author, reason });
			},
			onGone: () => policies.reports.doubt(service, instance),
		});
	});
}

/** A sidecar speaks for its own service alone; tokens are of people and tools. */
export function foreignService(c: NexusContext, service: string): Problem | undefined {
	const { peer } = c.env.req.caller;
	if (peer === undefined || peer.id.service === service) return undefined;
	return {
		status: 403,
		title: "The caller may not do this.",
		detail: `${peer.id.uri} speaks for ${peer.id.service}, and this is ${service}.`,
		reason: "unauthorized",
	};
}

export function badName(name: string): Problem {
	return { status: 400, title: "That is no name.", detail: `${JSON.stringify(name.slice(0, 100))} is no name of a service.`, reason: "bad_request" };
}

export const DRAINING: Problem = Object.freeze({ status: 503, title: "Nexus is shutting down.", reason: "draining" });

const STATE_STATUS: Readonly<Record<StateFailed["failure"], number>> = {
	full: 507,
	io: 500,
	unavailable: 503,
	overloaded: 429,
	invalid: 400,
	closed: 503,
	unknown: 503,
};

export function notKept({ failure, detail }: StateFailed): Problem {
	return { status: STATE_STATUS[failure], title: "The state of Nexus cannot keep it.", detail, reason: `state_${failure}` };
}

export function serviceOf(c: NexusContext): string {
	return c.req.param("service") ?? "";
}

/** RFC 9110 13.1: `If-Match: "7"`, `If-None-Match: *`. A string says what is wrong. */
function expectedVersion(c: NexusContext): number | undefined | string {
	const match = c.req.header("if-match");
	const none = c.req.header("if-none-match");
	if (none !== undefined) return none.trim() === "*" && match === undefined ? 0 : "if-none-match is `*`, and comes without if-match";
	if (match === undefined || match.trim() === "*") return undefined;
	const version = /^"(\d{1,9})"$/.exec(match.trim())?.[1];
	return version === undefined ? 'if-match is a version in quotes, as in "7"' : Number(version);
}

const STATUS: Readonly<Record<PutFault, number>> = { changed: 412, under_way: 409, too_large: 413, too_many: 409, no_version: 404, not_kept: 503 };

function answered(service: string, outcome: PutOutcome, rollout: "staged" | "at-once"): Response {
	if (outcome.ok) {
		const { version, isNew, head } = outcome;
		const answer = { service, version, changed: isNew, rollout: isNew ? rollout : "none" };
		return json(JSON.stringify(answer), isNew ? 201 : 200, { etag: `"${Math.max(version, head.latest)}"` });
	}
	if (outcome.fault === "bad_policy") {
		const faults = outcome.faults.map(shownFault);
		const detail = `${outcome.faults.length} fault${outcome.faults.length === 1 ? "" : "s"}; the first: ${faults[0]?.place} ${faults[0]?.message}`;
		return problemResponse({ status: 422, title: "The policy is wrong; nothing has changed.", detail, reason: "bad_policy", extensions: { faults } });
	}
	return problemResponse({ status: STATUS[outcome.fault], title: "The policy stays as it is.", detail: outcome.words, reason: outcome.fault });
}

function shownFault({ place, width, path, message, hint }: PolicyFault): Record<string, string | number> {
	return { place: placeText(place), line: place.line, column: place.column, width, path, message, hint };
}

function noPolicy(service: string): Problem {
	return {
		status: 404,
		title: "There is no such policy.",
		detail: `Nexus has none of ${JSON.stringify(service.slice(0, 100))}, or not this version.`,
		reason: "not_found",
		hint: "`nexus policies list` shows which there are.",
	};
}

function shownVersion({ version, hash, author, reason, createdMs, restores }: PolicyVersion): Record<string, unknown> {
	return { version, hash, author, reason, createdAt: isoTime(createdMs), restores };
}

function shownPolicy(service: string, found: PolicyVersion, current: number): Record<string, unknown> {
	return { service, ...shownVersion(found), current: found.version === current, policy: found.text };
}

function summary(policies: Policies, service: string): Record<string, unknown> {
	const status = statusOf(policies, service);
	const instances = status?.instances ?? [];
	return {
		service,
		current: status?.current ?? 0,
		latest: status?.latest ?? 0,
		instances: instances.length,
		upToDate: instances.filter(({ state }) => state === "current").length,
		rollout: status?.rollout ?? null,
	};
}

function statusOf(policies: Policies, service: string) {
	const head = policies.head(service);
	if (head === undefined) return undefined;
	const { latest, current, rollout, last } = head;
	const instances = [...policies.reports.of(service)].map(([instance, { running, sinceMs, rejected }]) => {
		const wanted = wantedVersion(head, instance);
		const state = rejected?.version === wanted ? "rejected" : running === wanted ? "current" : "pending";
		const silentMs = Math.round(policies.reports.silentMs(service, instance));
		return { instance, version: running, since: running === 0 ? null : isoTime(sinceMs), wanted, state, rejected, silentMs };
	});
	return {
		service,
		latest,
		current,
		rollout: rollout && shownRollout(rollout),
		lastRollout: last && { version: last.version, state: last.state, reason: last.reason, at: isoTime(last.atMs) },
		instances,
	};
}

function shownRollout({ version, from, stage, stages, instances, startedMs, stageMs }: RolloutState): Record<string, unknown> {
	const shown = stages.map(stageText);
	return { version, from, stage: shown[stage], stages: shown, instances, startedAt: isoTime(startedMs), stageSince: isoTime(stageMs) };
}

function isoTime(ms: number): string {
	return new Date(ms).toISOString();
}

const ofPolicy = { content: { "application/json": { schema: policyAnswer } } };
const notThere = failure("There is none.");
const badPolicy = {
	description: "The policy is wrong: every fault with its place.",
	content: { "application/problem+json": { schema: policyProblem } },
};

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies",
	summary: "Policies of all services",
	responses: { 200: { description: "By name.", content: { "application/json": { schema: policiesAnswer } } } },
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}",
	summary: "The policy of a service that is in force",
	description: "`etag` is the latest version, for `if-match`.",
	request: { params: serviceParams },
	responses: { 200: { description: "The policy.", ...ofPolicy }, 404: notThere },
};

const versionsRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/versions",
	summary: "The last versions of a policy",
	request: { params: serviceParams },
	responses: { 200: { description: "The newest first.", content: { "application/json": { schema: versionsAnswer } } }, 404: notThere },
};

const versionRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/versions/{version}",
	summary: "One version of a policy",
	request: { params: versionParams },
	responses: { 200: { description: "The policy.", ...ofPolicy }, 404: notThere },
};

const putRoute: RouteConfig = {
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

const rollbackRoute: RouteConfig = {
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
		412: failure("Somebody else has changed it."),
		422: badPolicy,
		503: failure("The state cannot be written."),
	},
};

const statusRoute: RouteConfig = {
	method: "get",
	path: "/v1/policies/{service}/status",
	summary: "Which instance runs which version since when",
	request: { params: serviceParams },
	responses: { 200: { description: "What its instances have said.", content: { "application/json": { schema: statusAnswer } } }, 404: notThere },
};

const syncRoute: RouteConfig = {
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
		503: failure("Shutting down."),
	},
};
