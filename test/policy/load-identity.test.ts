import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf, snapshotOf } from "./support.ts";

const FILES = "identity: { files: { cert: tls/a.crt, key: tls/a.key, ca: /etc/ca.crt } }\n";
const NEXUS = "nexus: { url: https://nexus:7400 }\n";

function policy(identity: string, inbound: string, upstream: string): string {
	return `service: orders\ntrustDomain: shop.example\n${identity}inbound: { application: 127.0.0.1:1${inbound} }\noutbound: {}\nupstreams:\n  search: { endpoints: [{ address: 127.0.0.1:2 }]${upstream} }\n`;
}

function tlsOf(identity: string, inbound: string, upstream: string) {
	const snapshot = snapshotOf(policy(identity, inbound, upstream));
	return { inbound: snapshot.inbound?.tls, upstream: snapshot.upstreams.get("search")?.tls, identity: snapshot.identity };
}

test("without an identity nothing is encrypted; with one, both directions are, by identity", () => {
	const plain = tlsOf("", "", "");
	assert.deepEqual([plain.identity, plain.inbound?.mode, plain.upstream], [undefined, "off", { kind: "off" }]);
	const meshed = tlsOf(FILES, "", "");
	assert.deepEqual(
		[meshed.inbound?.mode, meshed.inbound?.minVersion, meshed.inbound?.place, meshed.upstream],
		["strict", "TLSv1.3", undefined, { kind: "mesh", expected: "spiffe://shop.example/search" }],
	);
});

test("paths of an identity are relative to the policy file", () => {
	const files = tlsOf(FILES, "", "").identity;
	assert.ok(files?.kind === "files");
	assert.match(files.cert, /^\/.*\/tls\/a\.crt$/);
	assert.equal(files.ca, "/etc/ca.crt");
	const nexus = tlsOf(`${NEXUS}identity: { nexus: { tokenFile: join.token }, cacheDir: cache }\n`, "", "").identity;
	assert.ok(nexus?.kind === "nexus");
	assert.match(nexus.tokenFile, /^\/.*\/join\.token$/);
	assert.match(nexus.cacheDir ?? "", /^\/.*\/cache$/);
});

test("TLS is one word, or a mapping that says more", () => {
	assert.equal(tlsOf(FILES, ", tls: permissive", "").inbound?.mode, "permissive");
	const { inbound, upstream } = tlsOf(FILES, ', tls: { minVersion: "1.2" }', ", tls: { service: finder }");
	assert.deepEqual([inbound?.mode, inbound?.minVersion, inbound?.place?.line], ["strict", "TLSv1.2", 4]);
	assert.deepEqual(upstream, { kind: "mesh", expected: "spiffe://shop.example/finder" });
	assert.deepEqual(tlsOf(FILES, "", ', tls: { service: "spiffe://other.org/ns/finder" }').upstream, {
		kind: "mesh",
		expected: "spiffe://other.org/ns/finder",
	});
	assert.deepEqual(tlsOf(FILES, ", tls: off", ", tls: off").upstream, { kind: "off" });
	assert.deepEqual(tlsOf("", "", ", tls: { external: true, serverName: API.example.com }").upstream, {
		kind: "external",
		serverName: "api.example.com",
		ca: { kind: "system" },
		minVersion: "TLSv1.2",
	});
});

test("what cannot act together is told with its place and a way out", () => {
	const told = (identity: string, inbound: string, upstream: string) => faultsOf(policy(identity, inbound, upstream));
	assert.deepEqual(told("", ", tls: strict", ""), [
		"3:43 inbound.tls: TLS needs a certificate, and this policy has no identity | add `identity: { files: ... }` or `identity: { nexus: ... }`",
	]);
	assert.deepEqual(told(FILES, "", ", tls: { serverName: a.example }"), [
		"7:59 upstreams.search.tls.serverName: `serverName` does not act inside the mesh | identities decide there: remove it, or add `external: true`",
	]);
	assert.deepEqual(told("", "", ", tls: { external: true, service: b }"), [
		"6:52 upstreams.search.tls: `serverName` is missing | the name in its certificate, as in api.example.com",
		"6:75 upstreams.search.tls.service: `service` does not act with `external` | it is checked by `serverName`: remove it",
	]);
	assert.deepEqual(told("identity: { nexus: { tokenFile: t }, files: { cert: a, key: b, ca: c } }\n", "", ""), [
		"3:13 identity.nexus: `files` and `nexus` are both given | keep one: a service has one certificate",
		"3:13 identity.nexus: `identity.nexus` does not act without `nexus.url` | add `nexus: { url: https://... }`",
	]);
	assert.deepEqual(told("nexus: { url: http://nexus }\nidentity: { nexus: { tokenFile: t } }\n", "", ""), [
		"3:15 nexus.url: certificates are asked for over TLS alone | write https:// for a Nexus with `authority`",
	]);
	assert.deepEqual(told(FILES, ", tls: off, authorization: { rules: [{ name: a, action: allow, from: b }] }", ""), [
		"4:105 inbound.authorization.rules[0].from: nobody can prove to be that caller: inbound TLS is off | set `inbound.tls` to strict or permissive",
	]);
	assert.deepEqual(told(FILES, ", tls: {mode: strong}", ", tls: [strict]"), [
		"4:50 inbound.tls.mode: `strong` is not one of the choices | use strict, permissive, off",
		"7:57 upstreams.search.tls: `[strict]` is not one of the choices | did you mean `strict`?",
	]);
});
