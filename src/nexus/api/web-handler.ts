/** Lets an application that speaks the web's Request and Response answer the requests of our server. */
import { sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";

/** What a route finds in its environment, to answer by itself where a Response cannot: with a stream that knows its reader. */
export interface WebBindings {
	readonly req: ServerRequest;
	readonly res: ServerResponse;
}

export interface WebApp {
	/** Answers in every case; rejects only for a fault of ours. */
	fetch(request: Request, bindings: WebBindings): Response | Promise<Response>;
}

// The Fetch standard lets no Request have them.
const NO_WEB_METHODS: ReadonlySet<string> = new Set(["TRACE", "TRACK", "CONNECT"]);

/** Bodies of requests are not handed on, as no route takes one: a connection that brings one ends with the answer. */
export function webHandler(app: WebApp): (req: ServerRequest, res: ServerResponse) => Promise<void> {
	return async (req, res) => {
		if (NO_WEB_METHODS.has(req.method)) {
			sendProblem(res, { status: 405, title: `${req.method} is not served here.`, reason: "method_not_allowed" }, { allow: "GET, HEAD, POST" });
			return;
		}
		// `OPTIONS *` asks about the server as a whole, which no route does.
		const url = `http://${req.authority === "" ? "localhost" : req.authority}${req.url === "*" ? "/*" : req.url}`;
		const response = await app.fetch(new Request(url, { method: req.method, headers: [...req.headers()] }), { req, res });
		if (res.headersSent) return;
		const body = response.body === null ? "" : Buffer.from(await response.arrayBuffer());
		res.writeHead(response.status, Object.fromEntries(response.headers)).end(body);
	};
}
