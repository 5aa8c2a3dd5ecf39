/** The part of the API that makes, shows, changes and ends subscriptions. */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import type { Problem } from "../../server/problem.ts";
import { subscriptionDocument } from "../subscriptions/document.ts";
import type { FilterFault } from "../subscriptions/filter/schema.ts";
import type { Overview, SubscriptionView } from "../subscriptions/overview.ts";
import type { Changed, Refusal } from "../subscriptions/refusal.ts";
import { withoutSecrets } from "../subscriptions/secrets.ts";
import type { Subscription } from "../subscriptions/subscription.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";
import { deleteQuery, listQuery, nameParam, seekRequest, shownSubscription, subscriptionsAnswer } from "./subscription-schemas.ts";

export interface SubscriptionRoutesOptions {
	readonly subscriptions: Subscriptions;
	readonly overview: Overview;
	readonly logger: Logger;
}

export function addSubscriptionRoutes(routes: Routes, { subscriptions, overview, logger }: SubscriptionRoutesOptions): void {
	const show = (subscription: Subscription): unknown => shown(overview.viewOf(subscription));
	const answer = (changed: Changed, verb: string, who: string): Response => {
		if (!changed.ok) return refusalResponse(changed);
		const { subscription, isNew } = changed;
		logger.info(`a subscription was ${isNew ? "created" : verb}`, { subscription: subscription.name, by: who });
		return json(JSON.stringify(show(subscription)), isNew ? 201 : 200, etagOf(subscription));
	};

	routes.query(listRoute, "read", listQuery, async (_c, { after = "", limit }) => {
		const page = await overview.page(after, Number(limit));
		if (!page.ok) return refusalResponse({ ok: false, failure: "unavailable", detail: page.detail });
		return json(JSON.stringify({ subscriptions: page.views.map(shown), next: page.next ?? null }));
	});

	routes.query(getRoute, "read", noQuery, (c) => {
		const found = subscriptions.get(nameOf(c));
		return found === undefined ? refusalResponse(subscriptions.absence(nameOf(c))) : json(JSON.stringify(show(found)), 200, etagOf(found));
	});

	// Judged by the subscriptions themselves, which know what of the document they have already.
	routes.body(putRoute, "operate", z.unknown(), async (c, given, who) => {
		const name = nameParam.safeParse({ name: nameOf(c) });
		if (!name.success) return invalid(name.error.issues.map(({ message }) => ({ path: "name", message })));
		const wanted = preconditionOf(c);
		if (wanted === "malformed") return problemResponse(BAD_PRECONDITION);
		return answer(await subscriptions.put(name.data.name, given, wanted), "changed", who);
	});

	routes.query(deleteRoute, "operate", deleteQuery, async (c, { deadLetters }, who) => {
		const wanted = preconditionOf(c);
		if (wanted === "malformed") return problemResponse(BAD_PRECONDITION);
		const name = nameOf(c);
		const removed = await subscriptions.remove(name, deadLetters === "discard", wanted);
		if (!removed.ok) return refusalResponse(removed);
		logger.info("a subscription was deleted", { subscription: name, by: who });
		return new Response(null, { status: 204 });
	});

	routes.query(pauseRoute, "operate", noQuery, async (c, _query, who) => answer(await subscriptions.pause(nameOf(c), `by ${who}`), "paused", who));
	routes.query(resumeRoute, "operate", noQuery, async (c, _query, who) => answer(await subscriptions.resume(nameOf(c)), "resumed", who));
	routes.body(seekRoute, "operate", seekRequest, async (c, { from }, who) => answer(await subscriptions.seek(nameOf(c), from), "moved", who));
}

export function nameOf(c: NexusContext): string {
	return c.req.param("name") ?? "";
}

export function refusalResponse(refusal: Refusal): Response {
	switch (refusal.failure) {
		case "not_found":
			return problemResponse({ status: 404, title: "There is no subscription of this name.", reason: "not_found" });
		case "precondition": {
			const detail = refusal.actual === 0 ? "There is none of this name." : `It has revision ${refusal.actual}.`;
			return problemResponse({ status: 412, title: "The subscription is not as you expect it.", detail, reason: "precondition_failed" });
		}
		case "invalid":
			return invalid(refusal.faults);
		case "dead_letters":
			return problemResponse({
				status: 409,
				title: "The subscription has dead letters.",
				detail: `There are ${refusal.count}.`,
				reason: "dead_letters",
				hint: "Replay them, or delete with ?deadLetters=discard.",
			});
		case "too_many":
			return problemResponse({ status: 409, title: "There are too many subscriptions.", reason: "too_many" });
		case "moved":
			return problemResponse(
				{ status: 503, title: "The subscription is on its way to another node, or is just being changed.", reason: "no_dispatcher" },
				{ "retry-after": "1" },
			);
		case "paused":
			return problemResponse({ status: 409, title: "The subscription does not run.", detail: refusal.detail, reason: "paused" });
		case "unavailable":
			return problemResponse(
				{ status: 503, title: "The state of Nexus did not take it.", detail: refusal.detail, reason: "state_unavailable" },
				{ "retry-after": "1" },
			);
	}
}

function invalid(faults: readonly FilterFault[]): Response {
	return problemResponse({
		status: 400,
		title: "The subscription is not valid.",
		detail: faults.map(({ path, message }) => (path === "" ? message : `${path} ${message}`)).join("; "),
		reason: "bad_subscription",
		extensions: { faults },
	});
}

const BAD_PRECONDITION: Problem = Object.freeze({
	status: 400,
	title: "The precondition cannot be read.",
	detail: 'If-Match is one ETag as in "17", If-None-Match is *.',
	reason: "bad_request",
});

/** RFC 9110 section 13.1: the revision that it must have, 0 where there must be none, undefined where anything goes. */
function preconditionOf(c: NexusContext): number | undefined | "malformed" {
	const match = c.req.header("if-match");
	const noneMatch = c.req.header("if-none-match");
	if (noneMatch !== undefined) return noneMatch === "*" && match === undefined ? 0 : "malformed";
	if (match === undefined) return undefined;
	const revision = /^"(\d{1,15})"$/.exec(match)?.[1];
	return revision === undefined ? "malformed" : Number(revision);
}

function etagOf({ revision }: Subscription): Readonly<Record<string, string>> {
	return { etag: `"${revision}"` };
}

function shown({ name, revision, state, trouble, record, numbers, position, deadLetters, node }: SubscriptionView): unknown {
	const { open, unread, oldestAgeMs, acked, naked, timedOut, terminated, parked, missed } = numbers;
	return {
		name,
		revision,
		state,
		...(trouble === "" ? {} : { trouble }),
		...(record.paused === undefined ? {} : { pausedBecause: record.paused.reason }),
		createdAt: new Date(record.createdAtMs).toISOString(),
		updatedAt: new Date(record.updatedAtMs).toISOString(),
		document: withoutSecrets(record.document),
		...(position === undefined ? {} : { position }),
		lag: { open, unread, oldestAgeMs },
		deliveries: { acked, naked, timedOut, terminated, parked, missed },
		deadLetters,
		...(node === undefined ? {} : { node }),
	};
}

const shownContent = { "application/json": { schema: shownSubscription } };
const noSuch = failure("There is none of this name.");
const unavailable = failure("The state did not take it, or another node takes the subscription over.");
const elsewhere = failure("Another node takes it over: come again.");

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/subscriptions",
	summary: "List the subscriptions",
	description:
		"All of them, from any node. Those that another node dispatches are shown as that node has written them down: `position`, `open` and `deliveries` a moment after each change, `unread` an upper bound.",
	request: { query: listQuery },
	responses: {
		200: { description: "By name.", content: { "application/json": { schema: subscriptionsAnswer } } },
		400: failure("The query is not valid."),
		503: failure("The state cannot be read."),
	},
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/subscriptions/{name}",
	summary: "Show a subscription",
	request: { params: nameParam },
	responses: { 200: { description: "As it stands.", content: shownContent }, 404: noSuch, 503: elsewhere },
};

const putRoute: RouteConfig = {
	method: "put",
	path: "/v1/subscriptions/{name}",
	summary: "Make or change a subscription",
	description:
		'`If-Match: "REVISION"` changes it only as it was read, `If-None-Match: *` only makes it. A changed subscription goes on where it was: `from` counts when it is made.',
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: subscriptionDocument } } } },
	responses: {
		200: { description: "Changed.", content: shownContent },
		201: { description: "Made.", content: shownContent },
		400: failure("Not valid; `faults` has the place of each fault."),
		409: failure("There are too many."),
		412: failure("It has another revision."),
		503: unavailable,
	},
};

const deleteRoute: RouteConfig = {
	method: "delete",
	path: "/v1/subscriptions/{name}",
	summary: "Delete a subscription",
	request: { params: nameParam, query: deleteQuery },
	responses: {
		204: { description: "It is gone, and how far it had come." },
		404: noSuch,
		409: failure("It has dead letters."),
		412: failure("It has another revision."),
		503: unavailable,
	},
};

const stateChange = (verb: string, summary: string, description: string): RouteConfig => ({
	method: "post",
	path: `/v1/subscriptions/{name}/${verb}`,
	summary,
	description,
	request: { params: nameParam },
	responses: { 200: { description: "As it stands.", content: shownContent }, 404: noSuch, 503: unavailable },
});

const pauseRoute = stateChange("pause", "Pause a subscription", "Nothing is delivered until it is resumed; it goes on where it was.");
const resumeRoute = stateChange("resume", "Resume a subscription", "Goes on where it was.");

const seekRoute: RouteConfig = {
	...stateChange(
		"seek",
		"Let a subscription begin elsewhere",
		"Events behind that place are delivered, also those that were before. What was open is open no more; dead letters stay.",
	),
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: seekRequest } } } },
	responses: {
		200: { description: "As it stands.", content: shownContent },
		400: failure("The body is not valid."),
		404: noSuch,
		503: unavailable,
	},
};
