/** The catalogue of reasons: complete, printable, and in keeping with RFC 9110. */
import assert from "node:assert/strict";
import { STATUS_CODES } from "node:http";
import { describe, it } from "node:test";
import { REASON_CODES, REASONS } from "../../src/core/reasons.ts";

describe("every reason", () => {
	it("has a code that fits a header field, a metric label and an event", () => {
		assert.ok(REASON_CODES.length > 0);
		for (const code of REASON_CODES) assert.match(code, /^[a-z][a-z0-9_]{2,40}$/);
		assert.deepEqual([...REASON_CODES], Object.keys(REASONS));
	});

	it("has an error status with a phrase; 499, which is never sent, has none", () => {
		for (const code of REASON_CODES) {
			const { status } = REASONS[code];
			assert.ok(status >= 400 && status <= 599, `${code}: ${status}`);
			if (code === "client_closed") assert.equal(status, 499);
			else assert.ok(STATUS_CODES[status] !== undefined, `${code}: ${status}`);
		}
	});

	it("has a title and a hint: one sentence each, in ASCII on one line", () => {
		for (const code of REASON_CODES) {
			const { title, hint } = REASONS[code];
			for (const words of [title, hint]) assert.match(words, /^[A-Z][\x20-\x7e]*[.?]$/, code);
			assert.notEqual(title, hint);
		}
	});

	it("blames the client with 4xx, and what stands behind us with 502, 503 or 504", () => {
		for (const code of REASON_CODES) {
			const { side, status } = REASONS[code];
			if (side === "downstream") assert.ok(status < 500 || status === 501 || status === 505, `${code}: ${status}`);
			if (side === "upstream") assert.ok(status >= 502 && status <= 504, `${code}: ${status}`);
		}
	});

	it("cannot be changed by whoever holds it", () => {
		assert.ok(Object.isFrozen(REASONS) && Object.isFrozen(REASON_CODES));
		for (const code of REASON_CODES) assert.ok(Object.isFrozen(REASONS[code]), code);
	});
});
