/** One HTTP exchange as the web knows it, a request out and a Response back whose body streams, over what Node has had since long: no dependency, and roots of one's own. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { ConnectionOptions } from "node:tls";
import { codeOf } from "../core/errors.ts";

export interface TransportRequest {
	readonly method?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string | Uint8Array;
	readonly signal?: AbortSignal;
	/** Nobody is there any more when nothing comes for so long. */
	readonly silenceMs?: number;
}

/** Whom to believe, in place of the roots of the system and the name of the host. */
export type Trust = Pick<ConnectionOptions, "ca" | "checkServerIdentity">;

/** Any answer, redirects as well. Rejects with what the connection failed with, or with the reason of the signal. */
export type Exchange = (url: URL, request: TransportRequest) => Promise<Response>;

/** Longer than any long poll of Nexus (2 min). */
const SILENCE_MS = 150_000;
/** Fetch, "null body status": a Response must have none. */
export const BODILESS: ReadonlySet<number> = new Set([101, 204, 205, 304]);

/** RFC 9110 section 9.2.2: a request that may have been served already may go out again. */
const IDEMPOTENT = new Set(["GET", "HEAD", "PUT", "DELETE"]);

/** Connections are kept, and keep no process alive. */
export function httpExchange(trust: Trust): Exchange {
	const plain = new HttpAgent({ keepAlive: true });
	let secure: HttpsAgent | undefined;
	return function exchange(url, request) {
		const { method = "GET", headers = {}, body, signal, silenceMs = SILENCE_MS } = request;
		return new Promise((resolve, reject) => {
			signal?.throwIfAborted();
			const isSecure = url.protocol === "https:";
			if (isSecure) secure ??= new HttpsAgent({ keepAlive: true, ...trust });
			const length = body === undefined ? undefined : { "content-length": String(Buffer.byteLength(body)) };
			const options = {
				method,
				agent: isSecure ? secure : plain,
				headers: { ...headers, ...length },
				timeout: silenceMs,
				...(signal && { signal }),
			};
			const outgoing = (isSecure ? httpsRequest : httpRequest)(url, options);
			let isAnswered = false;
			outgoing.on("response", (message) => {
				isAnswered = true;
				try {
					resolve(responseOf(message));
				} catch (thrown) {
					message.destroy();
					reject(thrown);
				}
			});
			outgoing.on("timeout", () => outgoing.destroy(new Error(`nothing has come for ${silenceMs / 1000} s`)));
			outgoing.on("error", (error) => {
				// What breaks later breaks the body, whose reader is told.
				if (isAnswered) return;
				// The other side had closed a connection that was kept for too long: on a new one it is as if that had not been.
				if (outgoing.reusedSocket && codeOf(error) === "ECONNRESET" && IDEMPOTENT.has(method)) resolve(exchange(url, request));
				else reject(signal?.aborted === true ? signal.reason : error);
			});
			outgoing.end(body);
		});
	};
}

function responseOf(message: IncomingMessage): Response {
	const headers = new Headers();
	for (let i = 0; i + 1 < message.rawHeaders.length; i += 2) headers.append(message.rawHeaders[i] ?? "", message.rawHeaders[i + 1] ?? "");
	const status = message.statusCode ?? 0;
	if (!BODILESS.has(status)) return new Response(bodyOf(message), { status, headers });
	message.resume();
	return new Response(null, { status, headers });
}

/** Reads on as it is read, and ends the connection where nobody wants the rest. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
	const chunks = message[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
	return new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				const { done, value } = await chunks.next();
				if (done === true) controller.close();
				else controller.enqueue(value);
			},
			cancel: () => void message.destroy(),
		},
		{ highWaterMark: 0 },
	);
}
