/** What an upstream connection tells whoever has sent a request on it. */
import type { Reason } from "../core/reasons.ts";
import type { BodyDecoder } from "../http1/body-decoder.ts";
import type { ResponseParser } from "../http1/response-parser.ts";

/** Who sent the request. Buffers and the parser are valid only during the call. */
export interface ResponseHandler {
	/** The final head, with the part of the body that came in the same read; `ended`: that was all of it. */
	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void;
	/** More of the body: `body.dataStart .. body.dataEnd` of `buffer`, `body.done` with the last of it. */
	onBody(body: BodyDecoder, buffer: Buffer): void;
	/** 100, 102, 103. */
	onInterim(parser: ResponseParser): void;
	/** 101 to a request that asked for it; `buffer[from, to)` are already bytes of the tunnel. */
	onUpgraded(parser: ResponseParser, buffer: Buffer, from: number, to: number): void;
	/** The answer will not be completed. The connection is closed. */
	onBroken(reason: Reason, detail: string): void;
	/** What was written has left; more may be written. */
	onWritable(): void;
}
