import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRetryAfter, RETRY_AFTER_MS_MAX } from "../../../src/resilience/retry/retry-after.ts";

const NOW = Date.UTC(1994, 10, 6, 8, 49, 7);

test("reads seconds", () => {
	assert.equal(parseRetryAfter("0", NOW), 0);
	assert.equal(parseRetryAfter("1", NOW), 1000);
	assert.equal(parseRetryAfter("0120", NOW), 120_000);
});

test("reads a date in each of the three forms of RFC 9110, by the wall clock", () => {
	for (const date of ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Wed Nov 16 08:49:37 1994"]) {
		const days = date.includes("16") ? 10 : 0;
		assert.equal(parseRetryAfter(date, NOW), Math.min(30_000 + days * 86_400_000, RETRY_AFTER_MS_MAX), date);
	}
	assert.equal(parseRetryAfter("Sun, 06 Nov 1994 08:49:60 GMT", NOW), 53_000, "a leap second");
});

test("a date that has passed says: now", () => {
	assert.equal(parseRetryAfter("Sun, 06 Nov 1994 08:49:06 GMT", NOW), 0);
	assert.equal(parseRetryAfter("Thu, 01 Jan 1970 00:00:00 GMT", NOW), 0);
});

test("a year of two digits is the nearest that is not more than 50 years ahead", () => {
	const now = Date.UTC(2026, 0, 1, 0, 0, 0);
	assert.equal(parseRetryAfter("Thursday, 01-Jan-26 00:00:05 GMT", now), 5000);
	assert.equal(parseRetryAfter("Thursday, 01-Jan-76 00:00:05 GMT", now), RETRY_AFTER_MS_MAX, "2076");
	assert.equal(parseRetryAfter("Thursday, 01-Jan-77 00:00:05 GMT", now), 0, "1977");
	const endOfCentury = Date.UTC(2099, 11, 31, 23, 59, 58);
	assert.equal(parseRetryAfter("Friday, 01-Jan-00 00:00:03 GMT", endOfCentury), 5000, "2100");
});

test("what asks for more than a day asks for a day", () => {
	assert.equal(parseRetryAfter("86401", NOW), RETRY_AFTER_MS_MAX);
	assert.equal(parseRetryAfter("9999999999", NOW), RETRY_AFTER_MS_MAX);
	assert.equal(parseRetryAfter("Fri, 31 Dec 9999 23:59:59 GMT", NOW), RETRY_AFTER_MS_MAX);
});

test("what is malformed says nothing", () => {
	for (const value of [
		"",
		" ",
		"-1",
		"+1",
		"1.5",
		"1s",
		"0x10",
		"1e3",
		" 1",
		"1 ",
		"1, 2",
		"99999999999",
		"soon",
		"1994-11-06T08:49:37Z",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 24:00:00 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT",
		"Wed, 31 Feb 1994 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Xxx, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun Nov 6 08:49:37 1994",
	]) {
		assert.equal(parseRetryAfter(value, NOW), undefined, JSON.stringify(value));
	}
});
