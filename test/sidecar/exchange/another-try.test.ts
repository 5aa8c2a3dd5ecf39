/** Which failures lead to another try: every reason, every method, every state. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { REASON_CODES } from "../../../src/core/reasons.ts";
import { ATTEMPTS_MAX, anotherTry, type Tried } from "../../../src/sidecar/exchange/another-try.ts";

const TRIED: Tried = { method: "GET", attempts: 1, replayable: true, resetUnanswered: false, raced: false };
const METHODS = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "LOCK", "get"];
const NOTHING_SENT = ["connect_refused", "connect_failed", "connect_timeout", "no_healthy_endpoint"];

describe("another try", () => {
	it("is made elsewhere for any method where nothing was sent", () => {
		for (const reason of REASON_CODES.filter((code) => NOTHING_SENT.includes(code))) {
			for (const method of METHODS) assert.equal(anotherTry(reason, { ...TRIED, method, replayable: false, raced: true }), "elsewhere");
		}
	});

	it("is made on a fresh connection for a dead kept-alive one, once, for idempotent methods that can be sent again (RFC 9110 9.2.2)", () => {
		for (const method of METHODS) {
			const isIdempotent = METHODS.indexOf(method) < 6;
			assert.equal(anotherTry("upstream_idle_race", { ...TRIED, method }), isIdempotent ? "fresh" : "no", method);
		}
		assert.equal(anotherTry("upstream_idle_race", { ...TRIED, raced: true }), "no");
		assert.equal(anotherTry("upstream_idle_race", { ...TRIED, replayable: false }), "no");
	});

	it("is made alike for a new connection that was reset unanswered, and not for one that was closed in good order", () => {
		for (const method of METHODS) {
			const isIdempotent = METHODS.indexOf(method) < 6;
			assert.equal(anotherTry("upstream_reset", { ...TRIED, method, resetUnanswered: true }), isIdempotent ? "fresh" : "no", method);
			assert.equal(anotherTry("upstream_reset", { ...TRIED, method }), "no");
		}
		assert.equal(anotherTry("upstream_reset", { ...TRIED, resetUnanswered: true, raced: true }), "no");
	});

	it("is never made for any other reason", () => {
		for (const reason of REASON_CODES) {
			if (NOTHING_SENT.includes(reason) || reason === "upstream_idle_race") continue;
			assert.equal(anotherTry(reason, TRIED), "no", reason);
		}
	});

	it("is never made beyond the limit of attempts", () => {
		for (const reason of REASON_CODES) {
			assert.equal(anotherTry(reason, { ...TRIED, attempts: ATTEMPTS_MAX }), "no");
			if (NOTHING_SENT.includes(reason)) assert.equal(anotherTry(reason, { ...TRIED, attempts: ATTEMPTS_MAX - 1 }), "elsewhere");
		}
	});
});
