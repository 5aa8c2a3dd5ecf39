/** A request head that has been understood: syntax from the head parser, then the rules about Host, target, framing and Expect. */
import { latin1 } from "../core/latin1.ts";
import { type CodecFault, fault } from "./fault.ts";
import type { FieldTable } from "./field-table.ts";
import { type Framing, NO_BODY, requestFraming } from "./framing.ts";
import { BAD, HeadParser, type Progress } from "./head-parser.ts";
import { Meaning } from "./meaning.ts";
import { CLASS, isAuthority, PATH } from "./syntax.ts";

export { BAD, DONE, MORE, type Progress } from "./head-parser.ts";

/** RFC 9112 section 3.2. */
export type TargetForm = "origin" | "absolute" | "authority" | "asterisk";

// Most requests use one of these; a comparison of bytes is cheaper than a new string.
const METHODS: readonly string[] = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

/** One per connection, reused for each of its requests. Everything it shows is valid until the next read or `reset`. */
export class RequestParser {
	readonly #parser = new HeadParser("request");
	readonly meaning = new Meaning();
	method = "";
	/** What goes upstream and what routes see: origin-form, or `*`; for absolute-form the part behind the authority. */
	target = "";
	form: TargetForm = "origin";
	/** The authority that counts (RFC 9112 3.3): of the target where it has one, else the Host field; "" in HTTP/1.0 without either. */
	authority = "";
	/** Whether the Host field must be written from `authority` (absolute-form), not relayed. */
	hostReplaced = false;
	/** Whether somebody has put another target into the place of the one that came: then the start line must be written, not relayed. */
	targetReplaced = false;
	framing: Framing = NO_BODY;
	minorVersion = 1;
	/** Whether the client lets this connection live on (RFC 9112 9.3). */
	keepAlive = true;
	fault: CodecFault | undefined;

	get fields(): FieldTable {
		return this.#parser.fields;
	}

	/** Offset of the start line in `fields.buffer`, its end (CRLF included), and the end of the head. */
	get start(): number {
		return this.#parser.start;
	}
	get lineEnd(): number {
		return this.#parser.lineEnd;
	}
	get end(): number {
		return this.#parser.end;
	}
	/** Position in the input behind the head, after DONE. */
	get consumed(): number {
		return this.#parser.consumed;
	}
	/** Whether a head has begun and is not complete. */
	get begun(): boolean {
		return this.#parser.begun;
	}

	reset(): void {
		this.#parser.reset();
		this.fault = undefined;
	}

	/** As `HeadParser.parse`. */
	parse(input: Buffer, from: number, to: number): Progress {
		const progress = this.#parser.parse(input, from, to);
		if (progress === BAD) this.fault = this.#parser.fault;
		else if (progress !== 0) {
			this.fault = this.#understand();
			if (this.fault !== undefined) return BAD;
		}
		return progress;
	}

	#understand(): CodecFault | undefined {
		const parser = this.#parser;
		const meaning = this.meaning;
		const buffer = parser.fields.buffer;
		meaning.read(parser.fields);
		this.minorVersion = parser.minorVersion;
		this.method = methodOf(buffer, parser.start, parser.methodEnd);
		this.hostReplaced = false;
		this.targetReplaced = false;
		if (meaning.hostLines > 1) return this.#refuse("more than one Host (RFC 9112 3.2)");
		if (meaning.hostLines === 0 && parser.minorVersion === 1) return this.#refuse("HTTP/1.1 without Host (RFC 9112 3.2)");
		this.authority = meaning.hostLines === 1 ? parser.fields.value(meaning.hostIndex) : "";
		if (meaning.hostLines === 1 && !isAuthority(this.authority)) return this.#refuse("Host is not uri-host [: port] (RFC 9112 3.2)");
		const targetFault = this.#readTarget(buffer, parser.targetStart, parser.targetEnd);
		if (targetFault !== undefined) return targetFault;
		if (meaning.connectionMalformed) return this.#refuse("Connection is not a list of tokens (RFC 9110 7.6.1)");
		if (meaning.framingAlias) return this.#refuse("an alias of a framing field, with _ for - (RFC 9110 5.1)");
		const framing = requestFraming(meaning, parser.minorVersion);
		if (framing.kind === "refused") return fault(framing.reason, framing.detail, parser.end - parser.start);
		this.framing = framing;
		if (meaning.expectLines > 0 && !meaning.expectContinue && parser.minorVersion === 1)
			return fault("expectation_failed", "an expectation other than 100-continue (RFC 9110 10.1.1)", parser.end - parser.start);
		this.keepAlive = parser.minorVersion === 1 ? !meaning.connectionClose : meaning.connectionKeepAlive && !meaning.connectionClose;
		return undefined;
	}

	#readTarget(buffer: Buffer, start: number, end: number): CodecFault | undefined {
		const first = buffer[start];
		if (this.method === "CONNECT") {
			this.form = "authority";
			this.target = latin1(buffer, start, end);
			if (!isAuthority(this.target) || !/:[0-9]+$/.test(this.target)) return this.#refuse("CONNECT without host:port (RFC 9112 3.2.3)");
			return fault("method_not_allowed", "CONNECT (RFC 9110 9.3.6)", 0);
		}
		if (first === 0x2f) {
			this.form = "origin";
			this.target = latin1(buffer, start, end);
			return isPath(buffer, start, end) ? undefined : this.#refuse("a byte that no path may hold (RFC 9112 3.2)");
		}
		if (first === 0x2a && end - start === 1) {
			this.form = "asterisk";
			this.target = "*";
			return this.method === "OPTIONS" ? undefined : this.#refuse("the asterisk-form is for OPTIONS (RFC 9112 3.2.4)");
		}
		return this.#readAbsolute(latin1(buffer, start, end), buffer, start, end);
	}

	#readAbsolute(text: string, buffer: Buffer, start: number, end: number): CodecFault | undefined {
		if (text.slice(0, 7).toLowerCase() !== "http://") return this.#refuse("the target has none of the four forms (RFC 9112 3.2)");
		let authorityEnd = text.length;
		for (let i = 7; i < text.length; i++) {
			const code = text.charCodeAt(i);
			if (code === 0x2f || code === 0x3f) {
				authorityEnd = i;
				break;
			}
		}
		const authority = text.slice(7, authorityEnd);
		if (!isAuthority(authority)) return this.#refuse("the authority of the target is not host [: port] (RFC 9110 4.2.4)");
		if (!isPath(buffer, start + authorityEnd, end)) return this.#refuse("a byte that no path may hold (RFC 9112 3.2)");
		const rest = text.slice(authorityEnd);
		this.form = "absolute";
		// RFC 9112 3.2.1 and 3.2.4: an empty path is "/", and "*" for OPTIONS.
		if (rest === "") this.target = this.method === "OPTIONS" ? "*" : "/";
		else this.target = rest.charCodeAt(0) === 0x3f ? `/${rest}` : rest;
		// RFC 9112 3.2.2: the Host that came along MUST be ignored.
		this.authority = authority;
		this.hostReplaced = true;
		return undefined;
	}

	#refuse(detail: string): CodecFault {
		return fault("bad_request", detail, this.#parser.end - this.#parser.start);
	}
}

/** The part before "?" must keep to the narrower class of paths; the head parser has checked the wider one. */
function isPath(buffer: Buffer, start: number, end: number): boolean {
	for (let p = start; p < end; p++) {
		const byte = buffer[p] as number;
		if (byte === 0x3f) return true;
		if (((CLASS[byte] as number) & PATH) === 0) return false;
	}
	return true;
}

function methodOf(buffer: Buffer, start: number, end: number): string {
	if (end - start === 3 && buffer[start] === 0x47 && buffer[start + 1] === 0x45 && buffer[start + 2] === 0x54) return "GET";
	const text = latin1(buffer, start, end);
	const known = METHODS.indexOf(text);
	return known === -1 ? text : (METHODS[known] as string);
}
