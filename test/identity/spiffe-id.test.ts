/** SPIFFE IDs: what the specification allows, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSpiffeId, SPIFFE_ID_FAULTS, type SpiffeIdFault, spiffeIdOf, trustDomainFault } from "../../src/identity/spiffe-id.ts";

const LONGEST_DOMAIN = "a".repeat(255);

test("an id of ours reads as trust domain and service, and is written back as it was", () => {
	const reading = parseSpiffeId("spiffe://mesh.local/payments");
	assert.deepEqual(reading, { ok: true, id: { trustDomain: "mesh.local", service: "payments", uri: "spiffe://mesh.local/payments" } });
	assert.deepEqual(spiffeIdOf("mesh.local", "payments"), reading);
});

test("an id of others may have a path of several segments, and letters of both cases in it", () => {
	for (const service of ["ns/shop/sa/payments", "Payments_2.v1-a", "..a", "a..b"]) {
		const reading = parseSpiffeId(`spiffe://mesh-1_a.local/${service}`);
		assert.equal(reading.ok && reading.id.service, service);
	}
});

const REFUSED: readonly (readonly [string, SpiffeIdFault])[] = [
	["", "scheme"],
	["https://mesh.local/payments", "scheme"],
	["SPIFFE://mesh.local/payments", "scheme"],
	["spiffe:/mesh.local/payments", "scheme"],
	[" spiffe://mesh.local/payments", "scheme"],
	["spiffe://", "trust_domain_missing"],
	["spiffe:///payments", "trust_domain_missing"],
	["spiffe://Mesh.local/payments", "trust_domain_characters"],
	["spiffe://mesh.local:8443/payments", "trust_domain_characters"],
	["spiffe://user@mesh.local/payments", "trust_domain_characters"],
	["spiffe://mesh%2elocal/payments", "trust_domain_characters"],
	["spiffe://mesh.local?x/payments", "trust_domain_characters"],
	["spiffe://m\u00e9sh.local/payments", "trust_domain_characters"],
	[`spiffe://${LONGEST_DOMAIN}a/payments`, "trust_domain_too_long"],
	["spiffe://mesh.local", "service_missing"],
	["spiffe://mesh.local/", "service_missing"],
	["spiffe://mesh.local/payments/", "service_segment"],
	["spiffe://mesh.local//payments", "service_segment"],
	["spiffe://mesh.local/./payments", "service_segment"],
	["spiffe://mesh.local/../payments", "service_segment"],
	["spiffe://mesh.local/payments?a=b", "service_characters"],
	["spiffe://mesh.local/payments#a", "service_characters"],
	["spiffe://mesh.local/pay%6dents", "service_characters"],
	["spiffe://mesh.local/pay ments", "service_characters"],
	["spiffe://mesh.local/payments\u0000", "service_characters"],
	["spiffe://mesh.local/payments\n", "service_characters"],
	[`spiffe://mesh.local/${"a".repeat(2048)}`, "too_long"],
];

for (const [text, fault] of REFUSED) {
	test(`${JSON.stringify(text.slice(0, 60))} is refused: ${SPIFFE_ID_FAULTS[fault]}`, () => {
		assert.deepEqual(parseSpiffeId(text), { ok: false, fault });
	});
}

test("the longest allowed trust domain and id are read", () => {
	const head = `spiffe://${LONGEST_DOMAIN}/`;
	assert.equal(parseSpiffeId(head + "a".repeat(2048 - head.length)).ok, true);
	assert.deepEqual(parseSpiffeId(head + "a".repeat(2049 - head.length)), { ok: false, fault: "too_long" });
});

test("a part that would change the meaning of the whole cannot be written into an id", () => {
	assert.deepEqual(spiffeIdOf("mesh.local/other", "payments"), { ok: false, fault: "trust_domain_characters" });
	assert.deepEqual(spiffeIdOf("mesh.local", "../orders"), { ok: false, fault: "service_segment" });
	assert.deepEqual(spiffeIdOf("mesh.local", "a".repeat(3000)), { ok: false, fault: "too_long" });
	assert.equal(trustDomainFault("mesh.local"), undefined);
	assert.equal(trustDomainFault("mesh local"), "trust_domain_characters");
});
