/** A request to a local API: its head, and its body once somebody asks for it. Knows no sockets. */
import { latin1 } from "../core/latin1.ts";
import type { RequestParser } from "../http1/request-parser.ts";
import type { Caller } from "./caller.ts";
import type { Problem } from "./problem.ts";

export type BodyResult = { readonly ok: true; readonly body: Buffer } | { readonly ok: false; readonly problem: Problem };

/** Asked before a body takes so much memory in all; a problem ends it. */
export type Hold = (bytes: number) => Problem | undefined;

/** What a request needs of the connection that it came on. */
export interface RequestSource {
	/** Address of the client; "" once the connection is closed. */
	readonly remoteAddress: string;
	readonly caller: Caller;
	/** Its body may arrive from now on: by `takeBody`, until that is told that it was the last of it, or by `failBody`. */
	wantBody(): void;
}

// Most bodies fit; a larger one is grown, so that memory follows what was sent and not what was announced.
export const FIRST_BYTES_MAX = 64 * 1024;
const EMPTY = Buffer.alloc(0);
/** For a request whose client went away. */
export const ENDED_EARLY: Problem = Object.freeze({ status: 400, title: "The request body ended early.", reason: "bad_request" });

export class ServerRequest {
	readonly method: string;
	/** Path and query as they were sent, or `*` (RFC 9112 section 3.2). */
	readonly url: string;
	/** The `host:port` that it was sent to; "" in HTTP/1.0 without Host. */
	readonly authority: string;
	/** Announced length of the body in bytes; undefined where it is not known before its end. */
	readonly length: number | undefined;
	readonly #source: RequestSource;
	/** The field lines as they came. */
	readonly #lines: string;
	#maxBytes = 0;
	#hold: Hold | undefined;
	#bytes: Buffer = EMPTY;
	#received = 0;
	#resolve: ((result: BodyResult) => void) | undefined;
	#result: BodyResult | undefined;
	#asked = false;

	constructor(parser: RequestParser, source: RequestSource) {
		const { framing } = parser;
		this.method = parser.method;
		this.url = parser.target;
		this.authority = parser.authority;
		this.#lines = latin1(parser.fields.buffer, parser.lineEnd, parser.end - 2);
		this.#source = source;
		this.length = framing.kind === "length" ? framing.length : framing.kind === "none" ? 0 : undefined;
		if (framing.kind === "none") this.#result = { ok: true, body: EMPTY };
	}

	get remoteAddress(): string {
		return this.#source.remoteAddress;
	}

	get caller(): Caller {
		return this.#source.caller;
	}

	/** All values of a field, joined as RFC 9110 section 5.3 allows; undefined when it is absent. `name` in lower case. */
	header(name: string): string | undefined {
		const lines = this.#lines;
		let joined: string | undefined;
		for (let at = 0; at < lines.length; ) {
			const colon = lines.indexOf(":", at);
			const end = lines.indexOf("\n", colon);
			if (colon - at === name.length && lines.slice(at, colon).toLowerCase() === name) {
				const value = withoutSpace(lines, colon + 1, end - 1);
				joined = joined === undefined ? value : `${joined}, ${value}`;
			}
			at = end + 1;
		}
		return joined;
	}

	/** Every field line, in order, names in lower case. */
	*headers(): Generator<[name: string, value: string]> {
		const lines = this.#lines;
		for (let at = 0; at < lines.length; ) {
			const colon = lines.indexOf(":", at);
			const end = lines.indexOf("\n", colon);
			yield [lines.slice(at, colon).toLowerCase(), withoutSpace(lines, colon + 1, end - 1)];
			at = end + 1;
		}
	}

	/**
	 * The whole body, of at most `maxBytes`; to be called once. A problem where it is larger (413), ends early or is malformed (400), or
	 * comes too slowly (408): the connection ends after the answer then. Never rejects.
	 */
	body(maxBytes: number, hold?: Hold): Promise<BodyResult> {
		if (this.#asked) throw new Error("the body of a request can be read once");
		this.#asked = true;
		if (this.#result !== undefined) return Promise.resolve(this.#result);
		// Not asked for, it is not sent either, by those who sent `Expect: 100-continue`.
		if (this.length !== undefined && this.length > maxBytes) return Promise.resolve(tooLarge(maxBytes));
		this.#maxBytes = maxBytes;
		this.#hold = hold;
		return new Promise((resolve) => {
			this.#resolve = resolve;
			this.#source.wantBody();
		});
	}

	/** For the connection: the next bytes of the body. `buffer[from, to)` is copied. */
	takeBody(buffer: Buffer, from: number, to: number, isLast: boolean): void {
		if (this.#resolve === undefined) return; // its fate is settled
		const received = this.#received + to - from;
		if (received > this.#maxBytes) {
			this.#settle(tooLarge(this.#maxBytes));
			return;
		}
		const refusal = this.#reserve(received, isLast);
		if (refusal !== undefined) {
			this.#settle({ ok: false, problem: refusal });
			return;
		}
		buffer.copy(this.#bytes, this.#received, from, to);
		this.#received = received;
		if (isLast) this.#settle({ ok: true, body: this.#bytes.subarray(0, received) });
	}

	/** For the connection: there will be no more of the body. */
	failBody(problem: Problem): void {
		this.#settle({ ok: false, problem });
	}

	#settle(result: BodyResult): void {
		this.#result ??= result;
		this.#bytes = EMPTY;
		this.#resolve?.(result);
		this.#resolve = undefined;
	}

	#reserve(bytes: number, isLast: boolean): Problem | undefined {
		const held = this.#bytes;
		if (bytes <= held.length) return undefined;
		const most = this.length ?? this.#maxBytes;
		const size = isLast ? bytes : Math.max(bytes, Math.min(most, Math.max(2 * held.length, FIRST_BYTES_MAX)));
		const refusal = this.#hold?.(size);
		if (refusal !== undefined) return refusal;
		const grown = Buffer.allocUnsafe(size);
		held.copy(grown, 0, 0, this.#received);
		this.#bytes = grown;
		return undefined;
	}
}

function tooLarge(maxBytes: number): BodyResult {
	return {
		ok: false,
		problem: {
			status: 413,
			title: "The request body is larger than the limit.",
			detail: `At most ${maxBytes} bytes are taken in one request.`,
			reason: "body_too_large",
		},
	};
}

/** Without the optional white space around a value: SP and HTAB (RFC 9110 section 5.6.3), and nothing else that `trim` takes. */
function withoutSpace(text: string, from: number, to: number): string {
	let start = from;
	let end = to;
	while (start < end && isSpace(text.charCodeAt(start))) start++;
	while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
	return text.slice(start, end);
}

function isSpace(code: number): boolean {
	return code === 0x20 || code === 0x09;
}
