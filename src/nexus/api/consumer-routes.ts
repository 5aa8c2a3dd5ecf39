/** The part of the API through which consumers take events and answer for them, and people look after dead letters. */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Problem } from "../../server/problem.ts";
import { type Answers, fetchOnce, type Taken } from "../subscriptions/consumers.ts";
import type { DeadLetter } from "../subscriptions/dead-letters.ts";
import { compileFilter } from "../subscriptions/filter/filter.ts";
import { REPLAY_MAX } from "../subscriptions/limits.ts";
import { MOVED } from "../subscriptions/refusal.ts";
import type { Subscription } from "../subscriptions/subscription.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import { failure, json, problemResponse, type Routes } from "./route.ts";
import { nameOf, refusalResponse } from "./subscription-routes.ts";
import {
	ackAnswer,
	ackRequest,
	discardRequest,
	FETCH_WAIT_DEFAULT_MS,
	fetchAnswer,
	fetchRequest,
	lettersAnswer,
	lettersQuery,
	nameParam,
	replayAnswer,
	replayRequest,
} from "./subscription-schemas.ts";

export interface ConsumerRoutesOptions {
	readonly subscriptions: Subscriptions;
	readonly clock: Clock;
	readonly logger: Logger;
}

const NO_PULL: Problem = Object.freeze({
	status: 409,
	title: "The subscription is pushed to its sink.",
	reason: "not_pull",
	hint: 'Consumers take events of subscriptions whose sink is { "kind": "pull" }.',
});
export const TOO_MANY: Problem = Object.freeze({
	status: 429,
	title: "Too many consumers wait for events of this subscription.",
	reason: "overloaded",
});
const NOT_KEPT: Problem = Object.freeze({
	status: 503,
	title: "The answers hold, but were not written down.",
	detail: "After a crash the events would come again.",
	reason: "state_unavailable",
});

export function addConsumerRoutes(routes: Routes, { subscriptions, clock, logger }: ConsumerRoutesOptions): void {
	routes.body(fetchRoute, "read", fetchRequest, async (c, { max = 1, wait = FETCH_WAIT_DEFAULT_MS }) => {
		const found = consumersOf(subscriptions, nameOf(c));
		if ("response" in found) return found.response;
		const { consumers } = found;
		const { res } = c.env;
		const { entries, end } = fetchOnce(consumers, max, wait, clock);
		const forgetWait = subscriptions.waits.add(end);
		const forgetEnd = consumers.onEnd(end);
		// Who has sent its last byte while it waits has gone, as far as can be seen.
		res.onClose(end);
		res.onClientEnd(end);
		const given = await entries;
		forgetWait();
		forgetEnd();
		if (given === "too_many") return problemResponse(TOO_MANY, { "retry-after": "1" });
		if (res.ended) {
			consumers.giveBack(given, "the consumer has gone away");
			return new Response(null);
		}
		const taken = await consumers.shown(given);
		return json(`{"deliveries":[${taken.map(takenJson).join(",")}]}`);
	});

	routes.body(ackRoute, "read", ackRequest, async (c, given) => {
		const found = consumersOf(subscriptions, nameOf(c));
		if ("response" in found) return found.response;
		const { settled, unknown, isDurable } = await found.consumers.answer(answersOf(given));
		return isDurable ? json(JSON.stringify({ settled, unknown })) : problemResponse(NOT_KEPT);
	});

	routes.query(lettersRoute, "read", lettersQuery, async (c, { after, limit }) => {
		const name = nameOf(c);
		if (subscriptions.get(name) === undefined) return refusalResponse(subscriptions.absence(name));
		const page = await subscriptions.letters.page(name, after, Number(limit));
		if ("fault" in page) return refusalResponse({ ok: false, failure: "unavailable", detail: page.fault });
		const total = subscriptions.letters.count(name)?.count ?? 0;
		return json(`{"deadLetters":[${page.letters.map(letterJson).join(",")}],"next":${JSON.stringify(page.next ?? null)},"total":${total}}`);
	});

	routes.body(replayRoute, "operate", replayRequest, async (c, { filter, filters, count, sequences, wait }, who) => {
		const name = nameOf(c);
		const matches = filter === undefined && filters === undefined ? undefined : compileFilter({ filter, filters }).matches;
		const outcome = await subscriptions.replay(name, {
			count: count ?? REPLAY_MAX,
			matches,
			sequences: sequences === undefined ? undefined : new Set(sequences),
			waitMs: wait ?? FETCH_WAIT_DEFAULT_MS,
		});
		if (!outcome.ok) return refusalResponse(outcome);
		const { recovered, stillFailed, pending } = outcome;
		logger.info("dead letters were replayed", { subscription: name, recovered, stillFailed, pending, by: who });
		return json(JSON.stringify({ recovered, stillFailed, pending }));
	});

	routes.body(discardRoute, "operate", discardRequest, async (c, { sequences }, who) => {
		const name = nameOf(c);
		if (subscriptions.get(name) === undefined) return refusalResponse(subscriptions.absence(name));
		let discarded = 0;
		for (const sequence of sequences) discarded += await subscriptions.letters.removeAll(name, sequence);
		logger.info("dead letters were discarded", { subscription: name, discarded, by: who });
		return json(JSON.stringify({ discarded }));
	});
}

export function consumersOf(
	subscriptions: Subscriptions,
	name: string,
): { readonly consumers: NonNullable<Subscription["consumers"]> } | { readonly response: Response } {
	const found = subscriptions.get(name);
	if (found === undefined) return { response: refusalResponse(subscriptions.absence(name)) };
	const { consumers, record, fault } = found;
	if (consumers !== undefined) return consumers.isOver ? { response: refusalResponse(MOVED) } : { consumers };
	if (found.branches.length > 0) return { response: problemResponse(NO_PULL) };
	return { response: refusalResponse({ ok: false, failure: "paused", detail: record.paused?.reason ?? fault }) };
}

export function answersOf({ ack = [], nak = [], term = [], progress = [] }: z.output<typeof ackRequest>): Answers {
	return {
		ack,
		nak: nak.map((one) => (typeof one === "string" ? { token: one } : { token: one.token, delayMs: one.delay, reason: one.reason })),
		term: term.map((one) => (typeof one === "string" ? { token: one } : one)),
		progress,
	};
}

/** The event is copied as its sender wrote it, never parsed and printed again. */
export function takenJson({ token, sequence, attempt, receivedAtMs, json: event }: Taken): string {
	return `{"token":"${token}","sequence":${sequence},"attempt":${attempt},"receivedAt":"${timeText(receivedAtMs)}","event":${event.toString()}}`;
}

function letterJson({ event, receivedAtMs, firstTriedAtMs, lastTriedAtMs, parkedAtMs, ...rest }: DeadLetter): string {
	const times = {
		receivedAt: timeText(receivedAtMs),
		firstTriedAt: timeText(firstTriedAtMs),
		lastTriedAt: timeText(lastTriedAtMs),
		parkedAt: timeText(parkedAtMs),
	};
	return `${JSON.stringify({ ...rest, ...times }).slice(0, -1)},"event":${event}}`;
}

function timeText(ms: number): string {
	return new Date(ms).toISOString();
}

const noSuch = failure("There is none of this name.");
const notPull = failure("It does not run, or is pushed to its sink.");
const badBody = failure("The body is not valid.");
const elsewhere = failure("Another node takes it over: come again.");

const fetchRoute: RouteConfig = {
	method: "post",
	path: "/v1/subscriptions/{name}/fetch",
	summary: "Take events",
	description:
		"A long poll: answers with the first events, or with none when the time is over. Each is to be answered for within ackWait, or comes again.",
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: fetchRequest } } } },
	responses: {
		200: { description: "Events, perhaps none.", content: { "application/json": { schema: fetchAnswer } } },
		400: badBody,
		404: noSuch,
		409: notPull,
		429: failure("Too many wait already."),
		503: elsewhere,
	},
};

const ackRoute: RouteConfig = {
	method: "post",
	path: "/v1/subscriptions/{name}/ack",
	summary: "Answer for events",
	description: "Answered once it is written down: what is acknowledged does not come again, whatever crashes.",
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: ackRequest } } } },
	responses: {
		200: { description: "Settled.", content: { "application/json": { schema: ackAnswer } } },
		400: badBody,
		404: noSuch,
		409: notPull,
		503: failure("Not written down, or another node takes it over."),
	},
};

const lettersRoute: RouteConfig = {
	method: "get",
	path: "/v1/subscriptions/{name}/dead-letters",
	summary: "Look at dead letters",
	description: "Takes nothing out.",
	request: { params: nameParam, query: lettersQuery },
	responses: {
		200: { description: "By sequence.", content: { "application/json": { schema: lettersAnswer } } },
		400: failure("The query is not valid."),
		404: noSuch,
		503: failure("The state cannot be read, or another node takes it over."),
	},
};

const replayRoute: RouteConfig = {
	method: "post",
	path: "/v1/subscriptions/{name}/dead-letters/replay",
	summary: "Try dead letters again",
	description: "Once each, before live events. What arrives is a dead letter no more.",
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: replayRequest } } } },
	responses: {
		200: { description: "What became of them.", content: { "application/json": { schema: replayAnswer } } },
		400: badBody,
		404: noSuch,
		409: failure("It does not run."),
		503: elsewhere,
	},
};

const discardRoute: RouteConfig = {
	method: "post",
	path: "/v1/subscriptions/{name}/dead-letters/discard",
	summary: "Throw dead letters away",
	request: { params: nameParam, body: { required: true, content: { "application/json": { schema: discardRequest } } } },
	responses: {
		200: { description: "How many there were.", content: { "application/json": { schema: z.object({ discarded: z.int() }) } } },
		400: badBody,
		404: noSuch,
		503: elsewhere,
	},
};
