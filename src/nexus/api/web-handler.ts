/** Lets an application that speaks the web's Request and Response answer the requests of our server. */
import { sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";

/** What a route finds in its environment: the body of the request, and the answer where a Response cannot be one. */
export interface WebBindings {
	readonly req: ServerRequest;
	readonly res: ServerResponse;
	/** Set by a route that answers by itself, now or later: what it returns is dropped. */
	isTaken: boolean;
}

export interface WebApp {
	/** Answers in every case; rejects only for a fault of ours. */
	fetch(request: Request, bindings: WebBindings): Response | Promise<Response>;
}

// The Fetch standard lets no Request have them. In small letters it throws at these, and takes others for those in capitals, which they are not (RFC 9110 section 9.1).
const NO_WEB_METHODS = /^(?:TRACE|TRACK|CONNECT)$|[a-z]/;

/** Bodies are read by the routes that want one, with a limit (route.ts); a connection that brings another one ends with the answer. */
export function webHandler(app: WebApp): (req: ServerRequest, res: ServerResponse) => Promise<void> {
	return async (req, res) => {
		if (NO_WEB_METHODS.test(req.method)) {
			const allow = { allow: "GET, HEAD, POST, PUT, DELETE" };
			sendProblem(res, { status: 405, title: `${req.method} is not served here.`, reason: "method_not_allowed" }, allow);
			return;
		}
		// `OPTIONS *` asks about the server as a whole, which no route does.
		const url = `http://${req.authority === "" ? "localhost" : req.authority}${req.url === "*" ? "/*" : req.url}`;
		const bindings: WebBindings = { req, res, isTaken: false };
		const response = await app.fetch(new Request(url, { method: req.method, headers: [...req.headers()] }), bindings);
		if (bindings.isTaken || res.headersSent) return;
		const body = response.body === null ? "" : Buffer.from(await response.arrayBuffer());
		res.writeHead(response.status, Object.fromEntries(response.headers)).end(body);
	};
}
