/** How a client reaches Nexus. Where it is, who calls and whom to believe is decided here, and nowhere else in the client. */
import { codeOf, messageOf } from "../core/errors.ts";
import { httpExchange, type TransportRequest, type Trust } from "./http-exchange.ts";
import { NexusError } from "./nexus-error.ts";
import { Nodes, tokenFault } from "./nodes.ts";

export type { TransportRequest } from "./http-exchange.ts";

/** What a WebSocket is opened with. */
export interface SocketTarget {
	/** ws:// or wss:// */
	readonly url: string;
	readonly headers: Readonly<Record<string, string>>;
	readonly tls: Trust;
}

export interface Transport {
	/** Any answer. Rejects with a NexusError of status 0 where nobody answers, or as the signal is aborted. */
	send(path: string, request?: TransportRequest): Promise<Response>;
	/** `path` may be the URL that a redirect names. Throws a NexusError where the token may not go there. */
	socketTarget(path: string): SocketTarget;
	/** Nobody answers at this URL of a WebSocket: where there are other nodes, the next one is asked from now on. */
	failed?(url: string): void;
}

export interface HttpTransportOptions {
	/** As in `http://127.0.0.1:7400`. Of several nodes, the first one is asked until it does not answer, then the next one, and so on. */
	readonly url: string | readonly string[];
	/** Of `nexus token create`; role `ingest` to publish, `read` to read, `operate` for all. */
	readonly token?: string;
	/** Roots to believe, PEM; those of the system otherwise. */
	readonly ca?: string;
	/** In place of the comparison with the name of the host, as the identity of Nexus may count instead. */
	readonly checkServerIdentity?: Trust["checkServerIdentity"];
}

/** One node sends on to the one that does the work; a second time where that has just changed. */
const REDIRECTS_MAX = 3;

/** Nothing was sent: whoever it was for, another node may have it at once. */
const UNSENT = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"]);

/** Throws a TypeError for what is no URL, and for a token that would go over a network in the clear. */
export function httpTransport({ url, token, ca, checkServerIdentity }: HttpTransportOptions): Transport {
	const nodes = new Nodes(typeof url === "string" ? [url] : url, token);
	const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
	const tls: Trust = { ...(ca !== undefined && { ca }), ...(checkServerIdentity && { checkServerIdentity }) };
	const exchange = httpExchange(tls);

	/** Where a redirect leads, the token goes as well: it comes from Nexus, and the node there shows the same proof as this one. */
	const admitted = (path: string, node: URL): URL => {
		const target = URL.canParse(path, node) ? new URL(path, node) : undefined;
		const why = target === undefined ? "that is no URL" : target.protocol !== node.protocol ? "another protocol" : tokenFault(target, token);
		if (target !== undefined && why === undefined) return target;
		throw new NexusError(`${node.origin} sends on to ${path.slice(0, 200)}: ${why}`, 502, "bad_redirect");
	};

	const sendOnce = async (target: URL, request: TransportRequest): Promise<Response> => {
		try {
			return await exchange(target, request);
		} catch (thrown) {
			const isGivenUp = request.signal?.aborted === true;
			// Not in time is no answer either; a caller that wants no more of it says nothing of the node.
			if (!isGivenUp || thrown instanceof NexusError) nodes.failed(target);
			if (isGivenUp) throw thrown;
			const cause = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
			throw new NexusError(`Nexus does not answer at ${target.origin}: ${messageOf(cause)}`, 0, "", { cause: thrown });
		}
	};

	const sendTo = async (node: URL, path: string, request: TransportRequest): Promise<Response> => {
		let target = admitted(path, node);
		for (let redirects = 0; ; redirects++) {
			const response = await sendOnce(target, request);
			const location = redirectOf(response.status, response.headers.get("location"));
			if (location === undefined || redirects === REDIRECTS_MAX) return response;
			await response.body?.cancel();
			target = admitted(resolved(location, target), node);
		}
	};

	return {
		async send(path, { headers = {}, ...rest } = {}) {
			const request = { ...rest, headers: { ...headers, ...authorization } };
			for (let tries = 1; ; tries++) {
				try {
					return await sendTo(nodes.current, path, request);
				} catch (thrown) {
					const isUnsent = thrown instanceof NexusError && UNSENT.has(codeOf(thrown.cause) ?? "");
					if (!isUnsent || tries === nodes.count) throw thrown;
				}
			}
		},
		socketTarget: (path) => ({ url: admitted(path, nodes.current).href.replace(/^http/, "ws"), headers: authorization, tls }),
		failed: (target) => nodes.failed(new URL(target)),
	};
}

/** Of an answer that asks to send the very same elsewhere (RFC 9110 sections 15.4.8 and 15.4.9). */
export function redirectOf(status: number, location: string | null | undefined): string | undefined {
	return status === 307 || status === 308 ? (location ?? undefined) : undefined;
}

/** As it is where it is no URL, for whoever judges it. */
export function resolved(location: string, from: URL | string): string {
	return URL.canParse(location, from) ? new URL(location, from).href : location;
}
