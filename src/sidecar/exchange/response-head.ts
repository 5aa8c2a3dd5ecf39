/** The head of an answer as the client gets it: the upstream's fields in the client's framing. */
import { CONTENT_LENGTH, TRAILER } from "../../http1/fields.ts";
import type { Framing } from "../../http1/framing.ts";
import { CHUNKED, NO_BODY, UNTIL_CLOSE } from "../../http1/framing.ts";
import type { ResponseParser } from "../../http1/response-parser.ts";
import { fieldLine, relayedLines } from "../../http1/serializer.ts";
import type { FieldChanges } from "./field-changes.ts";

const CHUNKED_LINE = fieldLine("transfer-encoding", "chunked");
const CLOSE_LINE = fieldLine("connection", "close");
const KEEP_ALIVE_LINE = fieldLine("connection", "keep-alive");
const EMPTY_BODY_LINE = fieldLine("content-length", "0");

const DROP_NOTHING = dropping();
const DROP_TRAILER = dropping(TRAILER);
const DROP_LENGTH = dropping(CONTENT_LENGTH, TRAILER);

/** How a body reaches the client: `length` and `none` as they came; of unknown length chunked, or until close for HTTP/1.0. */
export function framingForClient(parser: ResponseParser, clientMinorVersion: number): Framing {
	if (parser.status === 205) return NO_BODY; // RFC 9110 15.3.6: no content, whatever the upstream sent
	const { framing } = parser;
	if (framing.kind === "none" || framing.kind === "length") return framing;
	return clientMinorVersion === 0 ? UNTIL_CLOSE : CHUNKED;
}

/** Latin1 text of a final or interim head, empty line included; `addedLines` of ours go with a final one. */
export function responseHead(
	parser: ResponseParser,
	framing: Framing,
	clientMinorVersion: number,
	close: boolean,
	acceptsTrailers: boolean,
	changes: FieldChanges | undefined,
	addedLines: string,
): string {
	const { status, meaning } = parser;
	// RFC 9110 8.6: no Content-Length with 1xx and 204.
	const withoutLength = status < 200 || status === 204 || status === 205;
	const dropped = withoutLength ? DROP_LENGTH : framing.kind === "chunked" && acceptsTrailers ? DROP_NOTHING : DROP_TRAILER;
	let text = relayed(parser, dropped, changes?.removed);
	if (status < 200) return `${text}\r\n`;
	if (framing.kind === "chunked") text += CHUNKED_LINE;
	else if (status === 205) text += EMPTY_BODY_LINE;
	if (close) text += CLOSE_LINE;
	else if (clientMinorVersion === 0) text += KEEP_ALIVE_LINE;
	// RFC 9110 15.5.22: 426 must name the protocol that is asked for, so this one hop-by-hop field is said again.
	if (status === 426 && meaning.upgradeLines > 0) text += fieldLine("upgrade", meaning.upgrade);
	if (changes !== undefined) text += changes.lines;
	return `${text}${addedLines}\r\n`;
}

/** 101 with the fields of the upstream, and the two that make it one. */
export function switchingHead(parser: ResponseParser): string {
	return `${relayed(parser, DROP_LENGTH, undefined)}${fieldLine("connection", "upgrade")}${fieldLine("upgrade", parser.meaning.upgrade)}\r\n`;
}

/** Start line and fields; the start line is copied with the first run of fields unless it must be said in our words. */
function relayed(parser: ResponseParser, dropped: Uint8Array, removed: ReadonlySet<string> | undefined): string {
	const { fields, meaning } = parser;
	if (parser.startLineRelayable) return relayedLines(fields, meaning, parser.start, parser.end - 2, dropped, removed);
	return parser.startLine + relayedLines(fields, meaning, parser.lineEnd, parser.end - 2, dropped, removed);
}

function dropping(...ids: readonly number[]): Uint8Array {
	const table = new Uint8Array(32);
	for (const id of ids) table[id] = 1;
	return table;
}
