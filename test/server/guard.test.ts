/** What the guard of the local APIs lets through. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileGuard, type GuardFields } from "../../src/server/guard.ts";

const request = (fields: Partial<GuardFields>): GuardFields => ({ host: undefined, origin: undefined, secFetchSite: undefined, ...fields });

test("loopback names, the listening address and allowed names pass, in any case, with any port and a final dot", () => {
	const guard = compileGuard({ listenHost: "10.1.2.3", allowedHosts: ["Nexus.internal"] });
	for (const host of ["localhost", "LOCALHOST:7400", "127.0.0.1:1", "[::1]:7400", "10.1.2.3:7400", "nexus.internal", "nexus.internal.:80"]) {
		assert.deepEqual(guard(request({ host })), { ok: true }, host);
	}
});

test("an unexpected or malformed Host is misdirected", () => {
	const guard = compileGuard({ listenHost: "127.0.0.1", allowedHosts: [] });
	const hosts = [
		"evil.example",
		"evil.example:7400",
		"localhost.evil.example",
		"10.1.2.3",
		"",
		"localhost:",
		"localhost:99x",
		"a b",
		"[::1",
		"localhost@evil",
		"localhost, evil",
	];
	for (const host of hosts) assert.equal(statusOf(guard(request({ host }))), 421, host);
});

test("a wildcard listener takes every IP literal but no foreign name", () => {
	const guard = compileGuard({ listenHost: "0.0.0.0", allowedHosts: [] });
	assert.equal(statusOf(guard(request({ host: "192.168.7.7:7400" }))), 0);
	assert.equal(statusOf(guard(request({ host: "[fe80::1]:7400" }))), 0);
	assert.equal(statusOf(guard(request({ host: "rebound.evil.example:7400" }))), 421);
});

test("a request from a web page is forbidden whatever its Host", () => {
	const guard = compileGuard({ listenHost: "127.0.0.1", allowedHosts: [] });
	assert.equal(statusOf(guard(request({ host: "localhost", origin: "http://localhost:7400" }))), 403);
	assert.equal(statusOf(guard(request({ host: "localhost", origin: "null" }))), 403);
	assert.equal(statusOf(guard(request({ host: "localhost", secFetchSite: "cross-site" }))), 403);
	assert.equal(statusOf(guard(request({ host: "localhost", secFetchSite: "same-site" }))), 403);
	assert.equal(statusOf(guard(request({ host: "localhost", secFetchSite: "none" }))), 0);
});

test("a request without Host passes, as HTTP/1.0 health checks send it", () => {
	assert.equal(statusOf(compileGuard({ listenHost: "127.0.0.1", allowedHosts: [] })(request({}))), 0);
});

function statusOf(verdict: ReturnType<ReturnType<typeof compileGuard>>): number {
	return verdict.ok ? 0 : verdict.status;
}
