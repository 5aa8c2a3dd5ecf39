/**
 * A second opinion on what was written to the wire: an unforgiving reader of HTTP/1.1 byte streams, written from RFC 9110 and 9112 with
 * nothing of `src/http1` in it, and by other means (whole text and patterns, not a byte machine), so that both cannot share a mistake.
 */

export interface StrictMessage {
	readonly startLine: string;
	/** "" in answers. */
	readonly method: string;
	readonly target: string;
	/** 0 in requests. */
	readonly status: number;
	readonly version: "1.0" | "1.1";
	/** In order, as sent, values without the white space around them. */
	readonly fields: readonly (readonly [name: string, value: string])[];
	readonly framing: "none" | "length" | "chunked" | "close";
	readonly body: Buffer;
	readonly trailers: readonly (readonly [name: string, value: string])[];
}

export interface StrictReading {
	readonly messages: readonly StrictMessage[];
	/** `clean`: nothing behind the last message. `incomplete`: one has begun and may yet become good. `fault`: see `fault`. */
	readonly ending: "clean" | "incomplete" | "fault";
	/** The broken rule, or "". */
	readonly fault: string;
	/** Bytes that belong to complete messages. */
	readonly consumed: number;
}

class Offence extends Error {}
class Incomplete extends Error {}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/(1\.[01])$/;
const STATUS_LINE = /^HTTP\/(1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)$/;
const FIELD_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?$/;
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

/** `written`: by a proxy, to the next hop. `sent`: by the peer itself, who may use what a proxy takes away (chunk extensions, an empty line). */
export type Author = "written" | "sent";

/** Every complete request in `bytes`. */
export function readRequests(bytes: Buffer, author: Author = "written"): StrictReading {
	return read(bytes, (text, from) => {
		const start = author === "sent" && text.startsWith("\r\n", from) ? from + 2 : from;
		return readRequest(bytes, text, start, author);
	});
}

/**
 * Every complete answer in `bytes`, interim ones included; `methods[i]` is that of the request which the i-th final answer belongs to.
 * `ended`: whether the sender closed in good order, which is what ends a body without a length.
 */
export function readResponses(bytes: Buffer, methods: readonly string[], ended: boolean, author: Author = "written"): StrictReading {
	let finals = 0;
	return read(bytes, (text, from) => {
		const answer = readResponse(bytes, text, from, methods[finals] ?? "GET", ended, author);
		if (answer.message.status >= 200 || answer.message.status === 101) finals++;
		return answer;
	});
}

/** What a relay must not let through to the next hop (RFC 9110 section 7.6.1), besides broken syntax: a list of sentences, empty when clean. */
export function relayFaults(message: StrictMessage, connectionOption: "" | "close" | "keep-alive" | "upgrade"): readonly string[] {
	const faults: string[] = [];
	const connection = valuesOf(message, "connection").join(", ").toLowerCase();
	if (connection !== connectionOption) faults.push(`connection: ${connection}`);
	for (const name of ["keep-alive", "proxy-connection", "te", "http2-settings", "transfer_encoding", "content_length"])
		if (valuesOf(message, name).length > 0) faults.push(`${name} was relayed`);
	if (valuesOf(message, "upgrade").length > 0 && connectionOption !== "upgrade") faults.push("upgrade was relayed");
	if (message.method !== "" && message.target !== "*" && !message.target.startsWith("/")) faults.push("not the origin-form");
	if (message.target.includes("#")) faults.push("a fragment in the target");
	return faults;
}

/** All values of a field, in order. `name` in lower case. */
export function valuesOf(message: StrictMessage, name: string): string[] {
	return message.fields.filter(([candidate]) => candidate.toLowerCase() === name).map(([, value]) => value);
}

interface Taken {
	readonly message: StrictMessage;
	readonly end: number;
}

function read(bytes: Buffer, one: (text: string, from: number) => Taken): StrictReading {
	const text = bytes.toString("latin1");
	const messages: StrictMessage[] = [];
	let from = 0;
	try {
		while (from < text.length) {
			const taken = one(text, from);
			messages.push(taken.message);
			from = taken.end;
		}
	} catch (error: unknown) {
		if (error instanceof Incomplete) return { messages, ending: "incomplete", fault: "", consumed: from };
		if (error instanceof Offence) return { messages, ending: "fault", fault: error.message, consumed: from };
		throw error;
	}
	return { messages, ending: "clean", fault: "", consumed: from };
}

function readRequest(bytes: Buffer, text: string, from: number, author: Author): Taken {
	const head = readHead(text, from);
	const line = REQUEST_LINE.exec(head.startLine);
	if (line === null) throw new Offence(`request line: ${JSON.stringify(head.startLine)}`);
	const [, method = "", target = "", version = ""] = line;
	const hosts = head.fields.filter(([name]) => name.toLowerCase() === "host");
	if (hosts.length > 1 || (hosts.length === 0 && version === "1.1")) throw new Offence(`${hosts.length} Host fields (RFC 9112 3.2)`);
	for (const [, host] of hosts) if (!HOST.test(host)) throw new Offence(`Host: ${JSON.stringify(host)}`);
	const framing = framingOf(head.fields, version);
	const start = { method, target, status: 0, version: version as "1.0" | "1.1" };
	return take(bytes, text, head, framing ?? { kind: "none", length: 0 }, start, author);
}

function readResponse(bytes: Buffer, text: string, from: number, method: string, ended: boolean, author: Author): Taken {
	const head = readHead(text, from);
	// A server may forget the last space, and may be of a later minor version, which is to be read as 1.1 (RFC 9110 2.5).
	const sent = head.startLine.length === 12 ? `${head.startLine} ` : head.startLine;
	const line = STATUS_LINE.exec(author === "sent" ? sent.replace(/^HTTP\/1\.[2-9]/, "HTTP/1.1") : head.startLine);
	if (line === null) throw new Offence(`status line: ${JSON.stringify(head.startLine)}`);
	const [, version = "", digits = ""] = line;
	const status = Number(digits);
	const noBody = method === "HEAD" || status < 200 || status === 204 || status === 304;
	// What a server says about a body that is not there frames nothing.
	const said = author === "sent" && noBody ? undefined : framingOf(head.fields, version);
	if (author === "written" && (status < 200 || status === 204) && said !== undefined)
		throw new Offence(`framing fields in a ${status} (RFC 9110 8.6, RFC 9112 6.1)`);
	const start = { method: "", target: "", status, version: version as "1.0" | "1.1" };
	if (noBody) return take(bytes, text, head, { kind: "none", length: 0 }, start, author);
	if (said !== undefined) return take(bytes, text, head, said, start, author);
	if (!ended) throw new Incomplete();
	return take(bytes, text, head, { kind: "close", length: text.length - head.end }, start, author);
}

interface Head {
	readonly startLine: string;
	readonly fields: readonly (readonly [string, string])[];
	readonly end: number;
}

function readHead(text: string, from: number): Head {
	const empty = text.indexOf("\r\n\r\n", from);
	const known = empty === -1 ? text.slice(from) : text.slice(from, empty);
	const lines = known.split("\r\n");
	// An unfinished last line may still get its LF.
	if (empty === -1 && known.endsWith("\r")) lines[lines.length - 1] = (lines.at(-1) ?? "").slice(0, -1);
	for (const line of lines) if (CONTROL.test(line)) throw new Offence(`a control byte in ${JSON.stringify(line.slice(0, 80))}`);
	if (empty === -1) throw new Incomplete();
	const [startLine = "", ...fieldLines] = lines;
	return { startLine, fields: fieldLines.map(readFieldLine), end: empty + 4 };
}

function readFieldLine(line: string): readonly [string, string] {
	if (line.startsWith(" ") || line.startsWith("\t")) throw new Offence("a folded line (RFC 9112 5.2)");
	const colon = line.indexOf(":");
	if (colon < 0) throw new Offence(`no colon in ${JSON.stringify(line.slice(0, 80))}`);
	const name = line.slice(0, colon);
	if (!TOKEN.test(name)) throw new Offence(`field name ${JSON.stringify(name)}`);
	const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
	if (!FIELD_TEXT.test(value)) throw new Offence(`field value ${JSON.stringify(value)}`);
	return [name, value];
}

interface Said {
	readonly kind: StrictMessage["framing"];
	readonly length: number;
}

function framingOf(fields: Head["fields"], version: string): Said | undefined {
	const lengths = fields.filter(([name]) => name.toLowerCase() === "content-length").map(([, value]) => value);
	const codings = fields.filter(([name]) => name.toLowerCase() === "transfer-encoding").map(([, value]) => value);
	if (lengths.length > 0 && codings.length > 0) throw new Offence("Content-Length and Transfer-Encoding (RFC 9112 6.3)");
	if (codings.length > 0) {
		if (version === "1.0") throw new Offence("Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)");
		if (codings.length > 1 || codings[0]?.toLowerCase() !== "chunked") throw new Offence(`Transfer-Encoding: ${codings.join(" | ")}`);
		return { kind: "chunked", length: 0 };
	}
	if (lengths.length === 0) return undefined;
	const [length = ""] = lengths;
	if (lengths.length > 1 || !/^[0-9]{1,15}$/.test(length)) throw new Offence(`Content-Length: ${lengths.join(" | ")}`);
	return { kind: "length", length: Number(length) };
}

function take(
	bytes: Buffer,
	text: string,
	head: Head,
	framing: Said,
	start: { method: string; target: string; status: number; version: "1.0" | "1.1" },
	author: Author,
): Taken {
	const message = { startLine: head.startLine, fields: head.fields, framing: framing.kind, ...start };
	if (framing.kind === "chunked") {
		const chunked = readChunks(bytes, text, head.end, author);
		return { message: { ...message, body: chunked.body, trailers: chunked.trailers }, end: chunked.end };
	}
	const end = head.end + framing.length;
	if (end > text.length) throw new Incomplete();
	return { message: { ...message, body: bytes.subarray(head.end, end), trailers: [] }, end };
}

function readChunks(bytes: Buffer, text: string, from: number, author: Author): { body: Buffer; trailers: Head["fields"]; end: number } {
	const parts: Buffer[] = [];
	let at = from;
	for (;;) {
		const lineEnd = text.indexOf("\r\n", at);
		if (lineEnd === -1) {
			// No extensions from a relay: it must not pass on what it does not understand (RFC 9112 7.1.1).
			const begun = author === "written" ? /^(?:[0-9A-Fa-f]{1,13}\r?)?$/ : /^(?:[0-9A-Fa-f]{1,13}(?:[ \t]*;[\t\x20-\x7e]*|[ \t]*)\r?)?$/;
			if (!begun.test(text.slice(at))) throw new Offence(`chunk size ${JSON.stringify(text.slice(at, at + 40))}`);
			throw new Incomplete();
		}
		const line = text.slice(at, lineEnd);
		const whole = author === "written" ? /^[0-9A-Fa-f]{1,13}$/ : /^[0-9A-Fa-f]{1,13}(?:[ \t]*;[\t\x20-\x7e]*)?$/;
		if (!whole.test(line)) throw new Offence(`chunk size ${JSON.stringify(line.slice(0, 40))}`);
		const size = Number.parseInt(line, 16);
		at = lineEnd + 2;
		if (size === 0) break;
		if (at + size + 2 > text.length) {
			const tail = text.slice(at + size);
			if (tail !== "" && tail !== "\r") throw new Offence("chunk data without CRLF behind it");
			throw new Incomplete();
		}
		if (text.slice(at + size, at + size + 2) !== "\r\n") throw new Offence("chunk data without CRLF behind it");
		parts.push(bytes.subarray(at, at + size));
		at += size + 2;
	}
	const trailers: (readonly [string, string])[] = [];
	for (;;) {
		const lineEnd = text.indexOf("\r\n", at);
		if (lineEnd === -1) {
			if (CONTROL.test(text.slice(at).replace(/\r$/, ""))) throw new Offence("a control byte in the trailers");
			throw new Incomplete();
		}
		const line = text.slice(at, lineEnd);
		at = lineEnd + 2;
		if (line === "") break;
		const field = readFieldLine(line);
		if (
			author === "written" &&
			/^(content-length|transfer-encoding|host|trailer|connection|authorization|content-type|content-encoding|content-range)$/i.test(field[0])
		)
			throw new Offence(`${field[0]} in the trailers (RFC 9110 6.5.1)`);
		trailers.push(field);
	}
	return { body: Buffer.concat(parts), trailers, end: at };
}
