/** The part of the API that distributes policies: people put them, sidecars sync with them. */
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
import { pageOf } from "./pages.ts";
import {
	getRoute,
	listRoute,
	policiesQuery,
	putRoute,
	rollbackRoute,
	statusRoute,
	syncRoute,
	versionRoute,
	versionsRoute,
} from "./policy-descriptions.ts";
import { policyRequest, rollbackRequest, syncRequest } from "./policy-schemas.ts";
import { json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";
import { stateProblem } from "./state-problem.ts";

export interface PolicyRoutesOptions {
	readonly policies: Policies;
	readonly logger: Logger;
	readonly isDraining: () => boolean;
}

/** A policy as JSON, escaped, with what stands beside it. */
const BODY_BYTES_MAX = 2 * POLICY_BYTES_MAX;

export function addPolicyRoutes(routes: Routes, { policies, logger, isDraining }: PolicyRoutesOptions): void {
	routes.query(listRoute, "read", policiesQuery, (_c, query) => {
		const { page, next } = pageOf(policies.book.services(), (service) => service, query);
		return json(JSON.stringify({ policies: page.map((service) => summary(policies, service)), next }));
	});

	routes.query(getRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const head = policies.head(service);
		const found = head && (await policies.version(service, head.current));
		if (found?.ok === false) return problemResponse(stateProblem(found));
		if (head === undefined || found?.value === undefined) return problemResponse(noPolicy(service));
		return json(JSON.stringify(shownPolicy(service, found.value, head.current)), 200, { etag: `"${head.latest}"` });
	});

	routes.query(versionsRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const head = policies.head(service);
		if (head === undefined) return problemResponse(noPolicy(service));
		const versions = await policies.book.versions(service);
		if (!versions.ok) return problemResponse(stateProblem(versions));
		return json(JSON.stringify({ service, current: head.current, versions: versions.value.map(shownVersion) }));
	});

	routes.query(versionRoute, "read", noQuery, async (c) => {
		const service = serviceOf(c);
		const found = await policies.version(service, Number(c.req.param("version")));
		if (!found.ok) return problemResponse(stateProblem(found));
		if (found.value === undefined) return problemResponse(noPolicy(service));
		return json(JSON.stringify(shownPolicy(service, found.value, policies.head(service)?.current ?? 0)));
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
				if (version === 0) return JSON.stringify({ version, tag, policy: null, author: "", reason: "" });
				const found = await policies.version(service, version);
				if (!found.ok) return stateProblem(found);
				// Between two commits of another node: it comes again.
				if (found.value === undefined) return undefined;
				const { text, author, reason } = found.value;
				return JSON.stringify({ version, tag, policy: text, author, reason });
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
	const title = outcome.fault === "not_kept" ? "The state of Nexus could not be used." : "The policy stays as it is.";
	return problemResponse({ status: STATUS[outcome.fault], title, detail: outcome.words, reason: outcome.fault });
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
