/** Which path and method of the admin API does what; knows nothing of what it shows. */
import { type Problem, sendProblem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { ServerResponse } from "../../server/server-response.ts";

export interface Call {
	readonly req: ServerRequest;
	readonly res: ServerResponse;
	readonly query: URLSearchParams;
	/** What stands in the path where the endpoint's path has NAME, decoded; "" where it has none. */
	readonly name: string;
}

export interface AdminEndpoint {
	/** GET answers HEAD as well. */
	readonly method: "GET" | "POST" | "PUT" | "DELETE";
	/** A segment NAME stands for any one segment. */
	readonly path: string;
	/** For the answer to whoever asks for something else. */
	readonly summary: string;
	readonly run: (call: Call) => void | Promise<void>;
}

const PARAMETER = "NAME";

export class Router {
	readonly #endpoints: readonly (AdminEndpoint & { readonly segments: readonly string[] })[];

	constructor(endpoints: readonly AdminEndpoint[]) {
		this.#endpoints = endpoints.map((endpoint) => ({ ...endpoint, segments: endpoint.path.split("/") }));
	}

	handle(req: ServerRequest, res: ServerResponse): void | Promise<void> {
		const [path, query] = split(req.url);
		const segments = path.split("/");
		const here = this.#endpoints.filter((endpoint) => fits(endpoint.segments, segments));
		if (here.length === 0) return sendProblem(res, this.#unknown(path));
		const method = req.method === "HEAD" ? "GET" : req.method;
		const endpoint = here.find((one) => one.method === method);
		if (endpoint === undefined) {
			const allow = here.map((one) => (one.method === "GET" ? "GET, HEAD" : one.method)).join(", ");
			return sendProblem(res, { status: 405, title: `${path} takes ${allow} only.`, reason: "method_not_allowed" }, { allow });
		}
		const name = decoded(segments[endpoint.segments.indexOf(PARAMETER)] ?? "");
		if (name === undefined) {
			return sendProblem(res, { status: 400, title: `${JSON.stringify(path)} is not well-formed percent-encoding.`, reason: "bad_request" });
		}
		return endpoint.run({ req, res, query: new URLSearchParams(query), name });
	}

	#unknown(path: string): Problem {
		const list = this.#endpoints.map(({ method, path: known, summary }) => `${method} ${known}: ${summary}`);
		return { status: 404, title: `There is no ${JSON.stringify(path)} here.`, reason: "not_found", detail: list.join("; ") };
	}
}

/** Path and query of a request target; anything but origin form has no path here. */
function split(target: string): [path: string, query: string] {
	const at = target.indexOf("?");
	return at === -1 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
	return pattern.length === segments.length && pattern.every((part, i) => (part === PARAMETER ? segments[i] !== "" : part === segments[i]));
}

function decoded(segment: string): string | undefined {
	try {
		return decodeURIComponent(segment);
	} catch {
		return undefined;
	}
}
