import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type FramingFields, requestFraming, responseFraming, type TransferCoding } from "../../src/http1/framing.ts";

const CODINGS: readonly TransferCoding[] = ["absent", "chunked", "unsupported", "not-final", "malformed"];
/** -1: not a number, as `Meaning` reads it. */
const LENGTHS = [-1, 0, 5, 2 ** 49];

/** Every combination that the fields of a head can say. */
function everyCombination(): FramingFields[] {
	const all: FramingFields[] = [];
	for (const contentLengthLines of [0, 1, 2])
		for (const contentLength of LENGTHS)
			for (const transferEncodingLines of [0, 1, 2])
				for (const transferCoding of CODINGS) {
					if ((transferEncodingLines === 0) !== (transferCoding === "absent")) continue;
					all.push({ contentLengthLines, contentLength, transferEncodingLines, transferCoding });
				}
	return all;
}

/** RFC 9112 6.3 as a table of what a request may be, written a second time and the other way round: from the outcome to its conditions. */
function requestOutcome(fields: FramingFields, minorVersion: number): string {
	const lengths = fields.contentLengthLines;
	const codings = fields.transferEncodingLines;
	if (lengths === 0 && codings === 0) return "none";
	if (lengths === 1 && codings === 0 && fields.contentLength === 0) return "none";
	if (lengths === 1 && codings === 0 && fields.contentLength > 0) return `length ${fields.contentLength}`;
	if (lengths === 0 && codings === 1 && minorVersion === 1 && fields.transferCoding === "chunked") return "chunked";
	if (lengths === 0 && codings > 0 && minorVersion === 1 && fields.transferCoding === "unsupported") return "transfer_coding_not_supported";
	return "bad_request";
}

function responseOutcome(fields: FramingFields, minorVersion: number, status: number, headRequest: boolean): string {
	if (headRequest || (status >= 100 && status <= 199) || [204, 304].includes(status)) return "none";
	const lengths = fields.contentLengthLines;
	const codings = fields.transferEncodingLines;
	if (lengths === 0 && codings === 0) return "close";
	if (lengths === 1 && codings === 0 && fields.contentLength === 0) return "none";
	if (lengths === 1 && codings === 0 && fields.contentLength > 0) return `length ${fields.contentLength}`;
	if (lengths === 0 && codings === 1 && minorVersion === 1 && fields.transferCoding === "chunked") return "chunked";
	return "refused";
}

suite("body framing", () => {
	test("of a request is what RFC 9112 6.3 says, for every combination of length, coding and version", () => {
		let combinations = 0;
		for (const fields of everyCombination()) {
			for (const minorVersion of [0, 1]) {
				const framing = requestFraming(fields, minorVersion);
				const got = framing.kind === "refused" ? framing.reason : framing.kind === "length" ? `length ${framing.length}` : framing.kind;
				assert.equal(got, requestOutcome(fields, minorVersion), JSON.stringify({ fields, minorVersion }));
				combinations++;
			}
		}
		assert.equal(combinations, 3 * 4 * (1 + 2 * 4) * 2);
	});

	test("of an answer is what RFC 9112 6.3 says, for every combination of fields, version, status and method", () => {
		for (const fields of everyCombination()) {
			for (const minorVersion of [0, 1]) {
				for (const status of [100, 101, 103, 199, 200, 201, 204, 205, 206, 301, 304, 404, 500, 599]) {
					for (const headRequest of [false, true]) {
						const framing = responseFraming(fields, minorVersion, status, headRequest);
						const got = framing.kind === "length" ? `length ${framing.length}` : framing.kind;
						const expected = responseOutcome(fields, minorVersion, status, headRequest);
						assert.equal(got, expected, JSON.stringify({ fields, minorVersion, status, headRequest }));
					}
				}
			}
		}
	});

	test("never runs a request until close", () => {
		for (const fields of everyCombination()) for (const minorVersion of [0, 1]) assert.notEqual(requestFraming(fields, minorVersion).kind, "close");
	});

	test("names its RFC section wherever it refuses", () => {
		for (const fields of everyCombination()) {
			const request = requestFraming(fields, 1);
			if (request.kind === "refused") assert.match(request.detail, /RFC 91(?:10|12) \d/);
			const response = responseFraming(fields, 1, 200, false);
			if (response.kind === "refused") assert.match(response.detail, /RFC 91(?:10|12) \d/);
		}
	});
});
