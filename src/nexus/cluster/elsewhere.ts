/** Requests about a subscription that reach a node which does not dispatch it: sent on to the one that does. */
import { sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";
import type { Cluster } from "./cluster.ts";
import type { Dispatch } from "./dispatch.ts";

const PATH = "/v1/subscriptions/";
const RETRY_SOON = { "retry-after": "1" };

/** The one that the request is about; undefined where it is about none, or names none that could be. */
export function subscriptionOf({ url }: ServerRequest): string | undefined {
	if (!url.startsWith(PATH)) return undefined;
	const [name = ""] = url.slice(PATH.length).split(/[/?]/, 1);
	try {
		return decodeURIComponent(name);
	} catch {
		return undefined;
	}
}

/** 307 (RFC 9110 section 15.4.8) to the node that dispatches it, or 503 where nobody does at this moment. The caller may ask. */
export async function sendElsewhere(
	req: ServerRequest,
	res: ServerResponse,
	name: string,
	dispatch: Dispatch,
	cluster: Cluster | undefined,
): Promise<void> {
	const holder = dispatch.holderOf(name);
	const url = holder === undefined || holder === cluster?.nodeId ? undefined : await cluster?.urlOf(holder);
	if (url !== undefined) {
		res.writeHead(307, { location: url + req.url }).end();
		return;
	}
	const problem = {
		status: 503,
		title: "Nobody dispatches this subscription at this moment.",
		detail: holder === undefined ? "The node that did is gone, or the state is away; another one takes over." : "A node is taking over.",
		reason: "no_dispatcher",
	};
	sendProblem(res, problem, RETRY_SOON);
}
