/** Short ways to bring bytes to a parser in a test. */
import { BAD, MORE, RequestParser } from "../../src/http1/request-parser.ts";
import { ResponseParser } from "../../src/http1/response-parser.ts";
import { ARRIVALS } from "./sans-io-relay.ts";

export interface Verdict {
	readonly progress: "more" | "done" | "bad";
	/** `reason: detail at offset`, or "". */
	readonly fault: string;
}

export function bytes(latin1: string): Buffer {
	return Buffer.from(latin1, "latin1");
}

export function parseRequest(head: string): RequestParser {
	const parser = new RequestParser();
	const input = bytes(head);
	parser.parse(input, 0, input.length);
	return parser;
}

export function parseResponse(head: string, headRequest = false): ResponseParser {
	const parser = new ResponseParser();
	const input = bytes(head);
	parser.parse(input, 0, input.length, headRequest);
	return parser;
}

/** What becomes of a request head in each of the arrivals; a test wants them all equal. */
export function requestVerdicts(head: string): Verdict[] {
	return ARRIVALS.map(([, split]) => {
		const parser = new RequestParser();
		return verdict(split(bytes(head)), (piece) => parser.parse(piece, 0, piece.length), parser);
	});
}

export function responseVerdicts(head: string): Verdict[] {
	return ARRIVALS.map(([, split]) => {
		const parser = new ResponseParser();
		return verdict(split(bytes(head)), (piece) => parser.parse(piece, 0, piece.length, false), parser);
	});
}

function verdict(pieces: readonly Buffer[], parse: (piece: Buffer) => number, parser: RequestParser | ResponseParser): Verdict {
	for (const piece of pieces) {
		const progress = parse(piece);
		if (progress === MORE) continue;
		if (progress !== BAD) return { progress: "done", fault: "" };
		const { fault } = parser;
		return { progress: "bad", fault: fault === undefined ? "" : `${fault.reason}: ${fault.detail} at ${fault.offset}` };
	}
	return { progress: "more", fault: "" };
}
