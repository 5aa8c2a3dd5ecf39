/** A request that is answered when there is news for it, or when its time is over: 200 with JSON, or 204. */
import { type Problem, sendProblem } from "../../server/problem.ts";
import type { ChangePoll, ChangePolls } from "../registry/change-polls.ts";
import { json, type NexusContext, problemResponse } from "./route.ts";

export interface LongPoll {
	readonly polls: ChangePolls;
	readonly topics: readonly string[];
	readonly waitMs: number;
	readonly hasNews: () => boolean;
	/** JSON; undefined: there is none after all. */
	readonly news: () => News | Promise<News>;
	/** Its caller went away while it waited. */
	readonly onGone?: () => void;
}

export type News = string | Problem | undefined;

const NO_STORE = { "cache-control": "no-store" };
const SOON = { "retry-after": "1" };

export async function longPoll(c: NexusContext, { polls, topics, waitMs, hasNews, news, onGone }: LongPoll): Promise<Response> {
	if (hasNews()) {
		const told = await news();
		if (typeof told === "object") return problemResponse(told, SOON);
		return told === undefined ? nothing() : json(told, 200, NO_STORE);
	}
	if (waitMs === 0) return nothing();
	const { res } = c.env;
	let isOver = false;
	const poll: ChangePoll = {
		topics,
		hasNews,
		answer(outcome) {
			isOver = true;
			void Promise.resolve(outcome === "changed" ? news() : undefined).then((told) => {
				if (res.headersSent) return;
				if (typeof told === "object") sendProblem(res, told, SOON);
				else if (told === undefined) res.writeHead(204, NO_STORE).end();
				else res.writeHead(200, { ...NO_STORE, "content-type": "application/json" }).end(told);
			});
		},
	};
	if (!polls.add(poll, waitMs)) {
		return problemResponse({ status: 429, title: "Too many callers wait.", reason: "overloaded" }, { "retry-after": "10" });
	}
	res.onClose(() => {
		polls.remove(poll);
		if (!isOver) onGone?.();
	});
	res.onClientEnd(() => polls.end(poll));
	c.env.isTaken = true;
	return new Response(null);
}

function nothing(): Response {
	return new Response(null, { status: 204, headers: NO_STORE });
}
