/** The head of a request as it goes on: the client's fields, less what concerned that hop only, plus what ours must say. */
import type { IdSource } from "../../core/ids.ts";
import {
	EXPECT,
	FORWARDED,
	HOST,
	MAX_FORWARDS,
	TRACEPARENT,
	TRAILER,
	X_FORWARDED_CLIENT_CERT,
	X_FORWARDED_FOR,
	X_FORWARDED_HOST,
	X_FORWARDED_PROTO,
	X_NEXUS,
	X_NEXUS_ATTEMPT,
	X_NEXUS_DEADLINE,
	X_NEXUS_RETRIED,
	X_NEXUS_TRACE,
	X_REAL_IP,
	X_REQUEST_ID,
} from "../../http1/fields.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import { fieldLine, fieldWriter, relayedLines, requestLine } from "../../http1/serializer.ts";
import type { FieldChanges } from "./field-changes.ts";
import { forwardsLeft } from "./hops.ts";
import type { Correlation } from "./stack.ts";

const requestIdLine = fieldWriter("x-request-id");
const traceparentLine = fieldWriter("traceparent");
const CHUNKED_LINE = fieldLine("transfer-encoding", "chunked");
const CONNECTION_UPGRADE_LINE = fieldLine("connection", "upgrade");

// Which fields do not pass, by what is known of the request: bit 1 forwarding fields, 2 Host, 4 Expect, 8 Trailer, 16 Max-Forwards, 32 traceparent,
// 64 x-forwarded-client-cert.
const DROP_FORWARDED = 1;
const DROP_HOST = 2;
const DROP_EXPECT = 4;
const DROP_TRAILER = 8;
const DROP_MAX_FORWARDS = 16;
const DROP_TRACEPARENT = 32;
const DROP_CLIENT_CERT = 64;
const DROPPED: readonly Uint8Array[] = Array.from({ length: 128 }, (_, bits) => {
	const table = new Uint8Array(32);
	// The mesh's own fields are never the client's to set; deadline and attempt are said anew with each try.
	for (const id of [X_NEXUS, X_NEXUS_DEADLINE, X_NEXUS_ATTEMPT, X_NEXUS_TRACE, X_NEXUS_RETRIED]) table[id] = 1;
	if (bits & DROP_FORWARDED) for (const id of [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, FORWARDED, X_REAL_IP]) table[id] = 1;
	if (bits & DROP_HOST) table[HOST] = 1;
	if (bits & DROP_EXPECT) table[EXPECT] = 1;
	if (bits & DROP_TRAILER) table[TRAILER] = 1;
	if (bits & DROP_MAX_FORWARDS) table[MAX_FORWARDS] = 1;
	if (bits & DROP_TRACEPARENT) table[TRACEPARENT] = 1;
	if (bits & DROP_CLIENT_CERT) table[X_FORWARDED_CLIENT_CERT] = 1;
	return table;
});

export interface RequestHeadOptions {
	/** Replaces Host; undefined keeps it as it came (or takes it from an absolute-form target). */
	readonly rewriteHost: string | undefined;
	/** Written where the request brought none (HTTP/1.0). */
	readonly defaultHost: string;
	/** Whether the forwarding fields that came along are dropped. */
	readonly dropForwarded: boolean;
	/** Whether `x-forwarded-client-cert` is dropped: at the edge of a service nobody says it but us. */
	readonly dropClientCert: boolean;
	/** Lines to add to each request: via, x-forwarded-*. */
	readonly addedLines: string;
	/** Replaces the target; undefined keeps it as it came. */
	readonly target: string | undefined;
	readonly changes: FieldChanges | undefined;
}

/** Latin1 text of the head, without the empty line that ends it: each try adds lines of its own. */
export function requestHead(request: RequestParser, options: RequestHeadOptions, ids: IdSource, correlation: Correlation): string {
	const { meaning, fields } = request;
	const host = options.rewriteHost ?? (request.hostReplaced ? request.authority : meaning.hostLines === 0 ? options.defaultHost : undefined);
	const forwards = forwardsLeft(request);
	const drop =
		(options.dropForwarded ? DROP_FORWARDED : 0) |
		(host !== undefined ? DROP_HOST : 0) |
		(request.minorVersion === 0 ? DROP_EXPECT : 0) |
		(request.framing.kind !== "chunked" ? DROP_TRAILER : 0) |
		(forwards !== undefined ? DROP_MAX_FORWARDS : 0) |
		(correlation.spanned ? DROP_TRACEPARENT : 0) |
		(options.dropClientCert ? DROP_CLIENT_CERT : 0);
	const { changes } = options;
	const removed = changes?.removed;
	// The start line is copied with the first run of fields, unless something of it or the Host behind it must change.
	const sameLine =
		request.form === "origin" && !request.targetReplaced && request.minorVersion === 1 && host === undefined && options.target === undefined;
	let text = sameLine ? relayed(request, request.start, drop, removed) : requestLine(request.method, options.target ?? request.target);
	if (!sameLine) text += (host === undefined ? "" : fieldLine("host", host)) + relayed(request, request.lineEnd, drop, removed);
	const made = ids.hex(32);
	if (meaning.has(X_REQUEST_ID)) correlation.requestId = fields.first(X_REQUEST_ID) ?? "";
	else {
		correlation.requestId = made;
		text += requestIdLine(made);
	}
	if (correlation.spanned) {
		// Whoever makes the spans has said already which trace it is.
	} else if (meaning.has(TRACEPARENT)) correlation.traceparent = fields.first(TRACEPARENT) ?? "";
	else {
		// W3C Trace Context 3.2: version, trace id, parent id, flags; not sampled, as nobody records it yet. Where both ids are
		// ours they are the same one, so that a log line leads to its trace.
		correlation.traceparent = `00-${made}-${ids.hex(16)}-00`;
		text += traceparentLine(correlation.traceparent);
	}
	if (forwards !== undefined) text += fieldLine("max-forwards", String(forwards - 1));
	if (request.framing.kind === "chunked") text += CHUNKED_LINE;
	if (wantsUpgrade(request)) text += CONNECTION_UPGRADE_LINE + fieldLine("upgrade", meaning.upgrade);
	if (changes !== undefined) text += changes.lines;
	return text + options.addedLines;
}

/** Whether the request asks for another protocol that we pass on (RFC 9110 7.8). `h2c` never: it would smuggle requests past every rule. */
export function wantsUpgrade(request: RequestParser): boolean {
	const { meaning } = request;
	if (!meaning.connectionUpgrade || meaning.upgradeLines !== 1 || request.minorVersion === 0 || request.framing.kind !== "none") return false;
	const protocol = meaning.upgrade.toLowerCase();
	return protocol !== "" && !protocol.includes("h2c") && !protocol.startsWith("tls/");
}

function relayed(request: RequestParser, from: number, drop: number, removed: ReadonlySet<string> | undefined): string {
	// -2: the empty line is written behind the added fields.
	return relayedLines(request.fields, request.meaning, from, request.end - 2, DROPPED[drop] as Uint8Array, removed);
}
