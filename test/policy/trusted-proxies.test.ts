import assert from "node:assert/strict";
import { test } from "node:test";
import { TrustedProxies } from "../../src/policy/trusted-proxies.ts";

test("only peers inside a block are trusted, IPv4 inside IPv6 as IPv4", () => {
	const proxies = new TrustedProxies(["10.0.0.0/8", "192.168.1.7/32", "fd00::/8"]);
	for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "fd12::1"]) assert.equal(proxies.trusts(address), true, address);
	for (const address of ["11.0.0.1", "192.168.1.8", "::1", "fe80::1", "::ffff:11.0.0.1", "", "payments", "10.0.0"]) {
		assert.equal(proxies.trusts(address), false, address);
	}
});

test("without blocks nobody is trusted, not even loopback", () => {
	assert.equal(new TrustedProxies([]).trusts("127.0.0.1"), false);
});
