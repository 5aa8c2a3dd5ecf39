/** A response head that has been understood, final or interim: syntax from the head parser, then the rules about framing. */
import { latin1 } from "../core/latin1.ts";
import { type CodecFault, fault } from "./fault.ts";
import type { FieldTable } from "./field-table.ts";
import { type Framing, NO_BODY, responseFraming } from "./framing.ts";
import { BAD, DONE, HeadParser, type Progress } from "./head-parser.ts";
import { Meaning } from "./meaning.ts";
import { statusLine } from "./serializer.ts";

/** One per upstream connection, reused. Everything it shows is valid until the next read or `reset`. */
export class ResponseParser {
	readonly #parser = new HeadParser("response");
	readonly meaning = new Meaning();
	status = 0;
	minorVersion = 1;
	framing: Framing = NO_BODY;
	/** Whether the server lets this connection live on (RFC 9112 9.3). */
	keepAlive = true;
	fault: CodecFault | undefined;

	get fields(): FieldTable {
		return this.#parser.fields;
	}
	get start(): number {
		return this.#parser.start;
	}
	get lineEnd(): number {
		return this.#parser.lineEnd;
	}
	get end(): number {
		return this.#parser.end;
	}
	/** Whether the start line may be relayed as it came: it says HTTP/1.1 and has the space before the phrase. */
	get startLineRelayable(): boolean {
		return this.minorVersion === 1 && !this.#parser.bareStatusLine;
	}
	/** The start line in our words: our version (RFC 9110 2.5), the server's status and phrase. */
	get startLine(): string {
		const phraseStart = this.#parser.start + (this.#parser.bareStatusLine ? 12 : 13);
		return statusLine(this.status, latin1(this.fields.buffer, phraseStart, this.lineEnd - 2));
	}
	/** Position in the input behind the head, after DONE. */
	get consumed(): number {
		return this.#parser.consumed;
	}
	/** Whether a byte of the answer has come and its head is not complete. */
	get begun(): boolean {
		return this.#parser.begun;
	}

	reset(): void {
		this.#parser.reset();
		this.fault = undefined;
	}

	/** As `HeadParser.parse`; `headRequest`: the request was a HEAD, so no body follows whatever the fields say. */
	parse(input: Buffer, from: number, to: number, headRequest: boolean): Progress {
		const parser = this.#parser;
		const progress = parser.parse(input, from, to);
		if (progress === BAD) this.fault = parser.fault;
		if (progress !== DONE) return progress;
		const meaning = this.meaning;
		meaning.read(parser.fields);
		this.status = parser.status;
		this.minorVersion = parser.minorVersion;
		const framing = responseFraming(meaning, parser.minorVersion, parser.status, headRequest);
		if (framing.kind === "refused") {
			this.fault = fault("upstream_protocol_error", framing.detail, parser.end - parser.start);
			return BAD;
		}
		// Not framing, and still not to be relayed: the client's reader may take it for framing.
		if (
			meaning.framingAlias ||
			meaning.connectionMalformed ||
			meaning.contentLengthLines > 1 ||
			(meaning.contentLengthLines === 1 && meaning.contentLength < 0)
		) {
			this.fault = fault(
				"upstream_protocol_error",
				"framing or connection fields that readers understand differently (RFC 9112 6.3)",
				parser.end - parser.start,
			);
			return BAD;
		}
		this.framing = framing;
		this.keepAlive =
			framing.kind !== "close" && (parser.minorVersion === 0 ? meaning.connectionKeepAlive && !meaning.connectionClose : !meaning.connectionClose);
		return DONE;
	}
}
