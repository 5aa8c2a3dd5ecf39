/** Requests about subscriptions that reach a node which does not dispatch them: sent on to the one that does. */
import { sendProblem } from "../server/problem.ts";
import type { ServerRequest } from "../server/server-request.ts";
import type { ServerResponse } from "../server/server-response.ts";
import type { Cluster } from "./cluster.ts";
import type { Dispatch } from "./dispatch.ts";

const PATH = "/v1/subscriptions";
const RETRY_SOON = { "retry-after": "1" };

export function isAboutSubscriptions({ url }: ServerRequest): boolean {
	return url.startsWith(PATH) && (url.length === PATH.length || "/?".includes(url.charAt(PATH.length)));
}

/** 307 (RFC 9110 section 15.4.8) to the node that dispatches, or 503 where nobody does at this moment. The caller may ask. */
export async function sendElsewhere(req: ServerRequest, res: ServerResponse, dispatch: Dispatch, cluster: Cluster | undefined): Promise<void> {
	const { holder } = dispatch;
	const url = holder === undefined || holder === cluster?.nodeId ? undefined : await cluster?.urlOf(holder);
	if (url !== undefined) {
		res.writeHead(307, { location: url + req.url }).end();
		return;
	}
	const problem = {
		status: 503,
		title: "Nobody dispatches subscriptions at this moment.",
		detail: holder === undefined ? "The node that did is gone, or the state is away; another one takes over." : "A node is taking over.",
		reason: "no_dispatcher",
	};
	sendProblem(res, problem, RETRY_SOON);
}
