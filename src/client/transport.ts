/** How a client reaches Nexus. Where it is, who calls and whom to believe is decided here, and nowhere else in the client. */
import type { ConnectionOptions } from "node:tls";
import { messageOf } from "../core/errors.ts";
import { NexusError } from "./nexus-error.ts";

export interface TransportRequest {
	readonly method?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string | Uint8Array;
	readonly signal?: AbortSignal;
}

/** What a WebSocket is opened with. */
export interface SocketTarget {
	/** ws:// or wss:// */
	readonly url: string;
	readonly headers: Readonly<Record<string, string>>;
	readonly tls: Pick<ConnectionOptions, "ca" | "checkServerIdentity">;
}

export interface Transport {
	/** Any answer. Rejects with a NexusError of status 0 where nobody answers, or as the signal is aborted. */
	send(path: string, request?: TransportRequest): Promise<Response>;
	socketTarget(path: string): SocketTarget;
}

export interface HttpTransportOptions {
	/** As in `http://127.0.0.1:7400`. */
	readonly url: string;
	/** Of `nexus token create`; role `ingest` to publish, `read` to read. */
	readonly token?: string;
	/** Roots to believe, PEM; those of the system otherwise. */
	readonly ca?: string;
}

type Fetch = (url: URL, init: object) => Promise<Response>;

/** Throws a TypeError for what is no URL, and for a token that would go over a network in the clear. */
export function httpTransport({ url, token, ca }: HttpTransportOptions): Transport {
	const base = URL.parse(url);
	if (base === null || !/^https?:$/.test(base.protocol)) throw new TypeError(`${url} is not an http URL, as in http://127.0.0.1:7400`);
	if (token !== undefined && base.protocol === "http:" && !isLocal(base.hostname)) {
		throw new TypeError(`a token in plain text to ${base.host} could be read on its way: use https://`);
	}
	const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
	let fetching: Promise<Fetch> | undefined;
	return {
		async send(path, { headers = {}, ...request } = {}) {
			fetching ??= ca === undefined ? Promise.resolve(fetch as unknown as Fetch) : fetchWith(ca);
			try {
				return await (await fetching)(new URL(path, base), { ...request, headers: { ...headers, ...authorization } });
			} catch (thrown) {
				if (request.signal?.aborted === true) throw thrown;
				const cause = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
				throw new NexusError(`Nexus does not answer at ${base.origin}: ${messageOf(cause)}`, 0, "", 0, { cause: thrown });
			}
		},
		socketTarget: (path) => ({
			url: new URL(path, base).href.replace(/^http/, "ws"),
			headers: authorization,
			tls: ca === undefined ? {} : { ca },
		}),
	};
}

/** Loaded only where it is asked for: it takes 60 ms. */
async function fetchWith(ca: string): Promise<Fetch> {
	const { Agent, fetch: undiciFetch } = await import("undici");
	const dispatcher = new Agent({ connect: { ca } });
	return (url, init) => undiciFetch(url, { ...init, dispatcher } as never) as unknown as Promise<Response>;
}

function isLocal(hostname: string): boolean {
	const host = hostname.replace(/^\[|\]$/g, "");
	return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
