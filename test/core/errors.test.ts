/** What was thrown, whatever it is, in words. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { assertNever, codeOf, messageOf } from "../../src/core/errors.ts";

describe("messageOf", () => {
	it("adds the system's code once", () => {
		assert.equal(messageOf(Object.assign(new Error("cannot connect"), { code: "ECONNREFUSED" })), "cannot connect (ECONNREFUSED)");
		assert.equal(messageOf(Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" })), "ENOSPC: no space");
	});

	it("has words for an error without any", () => {
		assert.equal(messageOf(new TypeError("")), "TypeError");
		// As Node makes it when every address of a name has failed.
		assert.equal(messageOf(Object.assign(new AggregateError([]), { code: "ECONNREFUSED" })), "AggregateError (ECONNREFUSED)");
	});

	it("is total: anything can be thrown", () => {
		assert.deepEqual([undefined, null, 7, "text", {}].map(messageOf), ["undefined", "null", "7", "text", "[object Object]"]);
	});
});

describe("codeOf", () => {
	it("finds a code of text only, and only on objects", () => {
		assert.equal(codeOf({ code: "EPIPE" }), "EPIPE");
		for (const thrown of [undefined, null, "EPIPE", { code: 7 }, {}, new Error("x")]) assert.equal(codeOf(thrown), undefined);
	});
});

describe("assertNever", () => {
	it("names the value that should not have been", () => {
		assert.throws(() => assertNever("surprise" as never), /unreachable: "surprise"/);
	});
});
