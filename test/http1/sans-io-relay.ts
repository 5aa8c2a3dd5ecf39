/**
 * The codec put together as the data plane does, with the data plane's own code for heads, and without a socket: what a peer sends goes in,
 * what the other side would get comes out. For the corpus and the fuzzer.
 */
import { IdSource } from "../../src/core/ids.ts";
import { BodyDecoder } from "../../src/http1/body-decoder.ts";
import { type CodecFault, fault } from "../../src/http1/fault.ts";
import type { Framing } from "../../src/http1/framing.ts";
import { INTERIM_RESPONSES_MAX } from "../../src/http1/limits.ts";
import { BAD, MORE, RequestParser } from "../../src/http1/request-parser.ts";
import { ResponseParser } from "../../src/http1/response-parser.ts";
import { chunkSizeLine, fieldLine, lastChunk } from "../../src/http1/serializer.ts";
import { requestHead, wantsUpgrade } from "../../src/sidecar/exchange/request-head.ts";
import { framingForClient, responseHead } from "../../src/sidecar/exchange/response-head.ts";

/** `refused`: see `fault`. `incomplete`: the peer closed inside a message. `closed`: a message said that it is the last. */
export type Ending = "clean" | "incomplete" | "refused" | "closed" | "tunnel";

export interface Relayed {
	/** What was written to the other side, in the order of the messages; the last one may be incomplete. */
	readonly written: Buffer;
	/** Messages that were relayed to their end; interim answers do not count. */
	readonly complete: number;
	readonly fault: CodecFault | undefined;
	readonly ending: Ending;
	/** Bytes that nobody read as a message, as the connection ends before them or became a tunnel. */
	readonly unread: number;
}

/** Which name a request without Host gets. */
export const DEFAULT_HOST = "upstream.test";

class ZeroIds extends IdSource {
	override hex(length: number): string {
		return "0".repeat(length);
	}
}

const IDS = new ZeroIds();
const HEAD_OPTIONS = {
	rewriteHost: undefined,
	defaultHost: DEFAULT_HOST,
	dropClientCert: false,
	dropForwarded: true,
	addedLines: fieldLine("via", "1.1 relay"),
	target: undefined,
	changes: undefined,
};

/** A client's bytes in the reads in which they arrive; then the client closes. Whoever asks for an upgrade gets it. */
export function relayRequests(reads: readonly Buffer[]): Relayed {
	const out = new Output();
	const parser = new RequestParser();
	const body = new BodyDecoder();
	let ending: Ending = "clean";
	let inBody = false;
	let upgrade = false;
	let keepAlive = true;
	for (const original of reads) {
		// The decoder moves pieces together in place, as it may in a read buffer.
		const read = Buffer.from(original);
		let at = 0;
		while (at < read.length) {
			if (!inBody) {
				if (upgrade || !keepAlive) {
					out.unread += read.length - at;
					break;
				}
				const progress = parser.parse(read, at, read.length);
				if (progress === BAD) return out.relayed("refused", parser.fault);
				at = parser.consumed;
				if (progress === MORE && at < read.length) throw new Error("the parser wants more and left bytes behind");
				if (progress === MORE) break;
				keepAlive = parser.keepAlive;
				upgrade = wantsUpgrade(parser);
				out.text(`${requestHead(parser, HEAD_OPTIONS, IDS, { requestId: "", traceparent: "", spanned: false })}\r\n`);
				out.framing = parser.framing;
				body.start(parser.framing);
				parser.reset();
				inBody = !body.done;
			} else {
				const before = at;
				at = body.decode(read, at, read.length);
				if (body.fault !== undefined) return out.relayed("refused", body.fault);
				if (at === before) throw new Error("the decoder took nothing and complains of nothing: a loop without end");
				out.body(body, read);
				inBody = !body.done;
			}
			if (!inBody) out.complete++;
		}
	}
	if (inBody || parser.begun) ending = "incomplete";
	else if (upgrade) ending = "tunnel";
	else if (!keepAlive) ending = "closed";
	return out.relayed(ending, undefined);
}

/** An upstream's bytes, then it closes; the client speaks HTTP/1.1 and wants trailers. One answer, as behind it nothing may follow. */
export function relayResponse(reads: readonly Buffer[], method: string): Relayed {
	const out = new Output();
	const parser = new ResponseParser();
	const body = new BodyDecoder();
	let inBody = false;
	let interims = 0;
	for (const original of reads) {
		const read = Buffer.from(original);
		let at = 0;
		while (at < read.length) {
			if (out.complete > 0) {
				out.unread += read.length - at;
				break;
			}
			if (!inBody) {
				const progress = parser.parse(read, at, read.length, method === "HEAD");
				if (progress === BAD) return out.relayed("refused", parser.fault);
				at = parser.consumed;
				if (progress === MORE && at < read.length) throw new Error("the parser wants more and left bytes behind");
				if (progress === MORE) break;
				if (parser.status === 101) return out.relayed("refused", fault("upstream_protocol_error", "101 that nobody asked for", 0));
				const framing = framingForClient(parser, 1);
				out.text(responseHead(parser, framing, 1, false, true, undefined, ""));
				if (parser.status < 200) {
					if (++interims > INTERIM_RESPONSES_MAX) return out.relayed("refused", fault("upstream_protocol_error", "too many interim answers", 0));
					parser.reset();
					continue;
				}
				out.framing = framing;
				// Where the client is told of no body (205), its answer is complete with the head.
				body.start(framing.kind === "none" ? framing : parser.framing);
				parser.reset();
				inBody = !body.done;
			} else {
				const before = at;
				at = body.decode(read, at, read.length);
				if (body.fault !== undefined) return out.relayed("refused", body.fault);
				if (at === before) throw new Error("the decoder took nothing and complains of nothing: a loop without end");
				out.body(body, read);
				inBody = !body.done;
			}
			if (!inBody) out.complete++;
		}
	}
	if (out.complete > 0) return out.relayed("clean", undefined);
	if (!inBody || !body.closed()) return out.relayed("incomplete", undefined);
	body.dataStart = body.dataEnd = 0;
	out.body(body, Buffer.alloc(0));
	out.complete++;
	return out.relayed("clean", undefined);
}

class Output {
	framing: Framing = { kind: "none" };
	complete = 0;
	unread = 0;
	readonly #parts: Buffer[] = [];

	text(latin1: string): void {
		this.#parts.push(Buffer.from(latin1, "latin1"));
	}

	/** The payload of the last decode in the framing of the other side. */
	body(body: BodyDecoder, read: Buffer): void {
		const bytes = body.dataEnd - body.dataStart;
		const chunked = this.framing.kind === "chunked";
		if (bytes > 0) {
			if (chunked) this.text(chunkSizeLine(bytes));
			this.#parts.push(Buffer.from(read.subarray(body.dataStart, body.dataEnd)));
			if (chunked) this.text("\r\n");
		}
		if (chunked && body.done) this.text(lastChunk(body.trailers));
	}

	relayed(ending: Ending, codecFault: CodecFault | undefined): Relayed {
		return { written: Buffer.concat(this.#parts), complete: this.complete, fault: codecFault, ending, unread: this.unread };
	}
}

/** Three ways in which the same bytes can arrive. */
export const ARRIVALS: readonly (readonly [name: string, split: (bytes: Buffer) => Buffer[]])[] = [
	["in one piece", (bytes) => [bytes]],
	["byte by byte", (bytes) => Array.from(bytes, (byte) => Buffer.of(byte))],
	["split at every CR and LF", splitAtLineEnds],
];

function splitAtLineEnds(bytes: Buffer): Buffer[] {
	const parts: Buffer[] = [];
	let from = 0;
	for (let i = 0; i < bytes.length; i++) {
		if (bytes[i] !== 0x0d && bytes[i] !== 0x0a) continue;
		if (i > from) parts.push(bytes.subarray(from, i));
		parts.push(bytes.subarray(i, i + 1));
		from = i + 1;
	}
	if (from < bytes.length) parts.push(bytes.subarray(from));
	return parts;
}
