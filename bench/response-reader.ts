/**
 * The client's side of HTTP/1.1, just enough to check replies: status and a body of known length.
 * Shares nothing with `src/http1`, so that a fault there cannot hide itself here.
 */

const HEAD_END = Buffer.from("\r\n\r\n");
// No contestant sends a head near this; a stream without an end of head is a fault, not a wait.
const HEAD_BYTES_MAX = 64 * 1024;

export interface Reply {
	readonly status: number;
	readonly head: string;
	/** Undefined where the reader was told not to keep bodies. */
	readonly body: Buffer | undefined;
	readonly bodyBytes: number;
}

export type Progress =
	| { readonly kind: "more" }
	| { readonly kind: "reply"; readonly reply: Reply }
	| { readonly kind: "fault"; readonly fault: string };

const MORE: Progress = { kind: "more" };

/** One per connection, for one reply at a time (no pipelining). */
export class ResponseReader {
	readonly #keepBody: boolean;
	#pending: Buffer | undefined;
	#head = "";
	#status = 0;
	#bodyBytes = 0;
	#missing = -1;
	#body: Buffer[] = [];

	constructor(options: { readonly keepBody: boolean }) {
		this.#keepBody = options.keepBody;
	}

	/** Takes the next bytes of the connection. Bytes after the end of a reply are a fault. Throws for text: sockets must not decode. */
	push(chunk: Buffer | string): Progress {
		if (typeof chunk === "string") throw new TypeError("the reader takes bytes, not text");
		if (this.#missing >= 0) return this.#takeBody(chunk);
		const bytes = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
		const headEnd = bytes.indexOf(HEAD_END);
		if (headEnd < 0) {
			this.#pending = Buffer.from(bytes);
			return bytes.length > HEAD_BYTES_MAX ? fault("the head has no end") : MORE;
		}
		this.#pending = undefined;
		this.#head = bytes.toString("latin1", 0, headEnd);
		this.#status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(this.#head)?.[1] ?? Number.NaN);
		if (Number.isNaN(this.#status)) return fault(`not a status line: ${JSON.stringify(this.#head.slice(0, 60))}`);
		const length = /\r\ncontent-length: *(\d+)(?:\r|$)/i.exec(this.#head)?.[1];
		if (length === undefined) return fault(`status ${this.#status} without content-length`);
		this.#missing = Number(length);
		this.#bodyBytes = this.#missing;
		return this.#takeBody(bytes.subarray(headEnd + HEAD_END.length));
	}

	#takeBody(chunk: Buffer): Progress {
		if (chunk.length > this.#missing) return fault(`${chunk.length - this.#missing} bytes after the end of the reply`);
		this.#missing -= chunk.length;
		if (this.#keepBody && chunk.length > 0) this.#body.push(Buffer.from(chunk));
		if (this.#missing > 0) return MORE;
		const reply: Reply = {
			status: this.#status,
			head: this.#head,
			body: this.#keepBody ? Buffer.concat(this.#body) : undefined,
			bodyBytes: this.#bodyBytes,
		};
		this.#missing = -1;
		this.#body = [];
		return { kind: "reply", reply };
	}
}

function fault(text: string): Progress {
	return { kind: "fault", fault: text };
}
