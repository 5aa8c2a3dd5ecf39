/** How long a body is: RFC 9112 section 6.3 as two pure functions. Nothing else in the codec decides where a message ends. */

export type Framing =
	| { readonly kind: "none" }
	| { readonly kind: "length"; readonly length: number }
	| { readonly kind: "chunked" }
	/** Until the sender closes; answers only. */
	| { readonly kind: "close" };

export const NO_BODY: Framing = Object.freeze({ kind: "none" });
export const CHUNKED: Framing = Object.freeze({ kind: "chunked" });
export const UNTIL_CLOSE: Framing = Object.freeze({ kind: "close" });

/** What the fields say, before anybody believes it. */
export interface FramingFields {
	/** Number of Content-Length lines. */
	readonly contentLengthLines: number;
	/** Value of the first one, or -1 where it is not 1*DIGIT or longer than the limit. */
	readonly contentLength: number;
	readonly transferEncodingLines: number;
	readonly transferCoding: TransferCoding;
}

/**
 * `chunked`: that alone. `unsupported`: known grammar, chunked last, something else before it. `not-final`: chunked is missing or not last.
 * `malformed`: not a list of transfer codings.
 */
export type TransferCoding = "absent" | "chunked" | "unsupported" | "not-final" | "malformed";

export type RequestFraming =
	| Framing
	| { readonly kind: "refused"; readonly reason: "bad_request" | "transfer_coding_not_supported"; readonly detail: string };

/** RFC 9112 6.3 for requests, strict where it says MAY: whatever two readers could understand differently is refused. */
export function requestFraming(fields: FramingFields, minorVersion: number): RequestFraming {
	if (fields.transferEncodingLines > 0) {
		if (fields.contentLengthLines > 0) return refused("both Transfer-Encoding and Content-Length (RFC 9112 6.3)");
		if (minorVersion === 0) return refused("Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)");
		switch (fields.transferCoding) {
			case "chunked":
				return fields.transferEncodingLines === 1 ? CHUNKED : refused("more than one Transfer-Encoding (RFC 9112 6.1)");
			case "unsupported":
				return { kind: "refused", reason: "transfer_coding_not_supported", detail: "a transfer coding other than chunked (RFC 9112 6.1)" };
			default:
				return refused("the final transfer coding is not chunked (RFC 9112 6.3)");
		}
	}
	if (fields.contentLengthLines === 0) return NO_BODY;
	if (fields.contentLengthLines > 1) return refused("more than one Content-Length (RFC 9110 8.6)");
	if (fields.contentLength < 0) return refused("Content-Length is not a number within the limit (RFC 9110 8.6)");
	return fields.contentLength === 0 ? NO_BODY : { kind: "length", length: fields.contentLength };
}

export type ResponseFraming = Framing | { readonly kind: "refused"; readonly detail: string };

/** RFC 9112 6.3 for answers. `headRequest`: the request was a HEAD. */
export function responseFraming(fields: FramingFields, minorVersion: number, status: number, headRequest: boolean): ResponseFraming {
	// Rule 1 first: such an answer ends with its head whatever its fields say, so they cannot frame anything.
	if (headRequest || status === 204 || status === 304 || status < 200) return NO_BODY;
	if (fields.transferEncodingLines > 0) {
		if (fields.contentLengthLines > 0) return { kind: "refused", detail: "both Transfer-Encoding and Content-Length (RFC 9112 6.3)" };
		if (minorVersion === 0) return { kind: "refused", detail: "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)" };
		if (fields.transferCoding !== "chunked" || fields.transferEncodingLines > 1)
			return { kind: "refused", detail: "a transfer coding other than chunked (RFC 9112 6.1)" };
		return CHUNKED;
	}
	if (fields.contentLengthLines === 0) return UNTIL_CLOSE;
	if (fields.contentLengthLines > 1) return { kind: "refused", detail: "more than one Content-Length (RFC 9112 6.3)" };
	if (fields.contentLength < 0) return { kind: "refused", detail: "Content-Length is not a number within the limit (RFC 9110 8.6)" };
	return fields.contentLength === 0 ? NO_BODY : { kind: "length", length: fields.contentLength };
}

function refused(detail: string): RequestFraming {
	return { kind: "refused", reason: "bad_request", detail };
}
