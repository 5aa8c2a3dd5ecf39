import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadPolicy } from "../../src/policy/load.ts";
import { OutboundRouting } from "../../src/policy/outbound-routing.ts";

const POLICY = `
service: tested
outbound:
  listen: 127.0.0.1:15001
  routes:
    - { name: pay, match: { host: payments, path: /pay/** }, to: payments }
    - { name: wide, match: { path: /shared }, to: search }
upstreams:
  payments: { endpoints: [ { address: 127.0.0.1:1 } ] }
  search: { endpoints: [ { address: 127.0.0.1:2 } ] }
`;

function routing(): OutboundRouting {
	const loaded = loadPolicy(POLICY, "/p.yaml", {}, 1);
	assert.ok(loaded.ok);
	const { outbound, upstreams } = loaded.snapshot;
	assert.ok(outbound !== undefined);
	return new OutboundRouting(outbound.routes, upstreams.keys());
}

const decide = (host: string, target: string): string => {
	const routed = routing().decide(host, target, "GET", () => undefined);
	return routed === undefined ? "refused" : `${routed.route?.name ?? "by host"} -> ${routed.upstream}`;
};

describe("outbound routing", () => {
	it("takes the first route that matches, whatever the query says", () => {
		assert.equal(decide("payments", "/pay/1?x=/no"), "pay -> payments");
		assert.equal(decide("anything", "/shared"), "wide -> search");
	});

	it("sends a host that no route names to the upstream of that name", () => {
		assert.equal(decide("search", "/any"), "by host -> search");
		assert.equal(decide("SEARCH.:8080", "/any"), "by host -> search");
	});

	it("leaves a host that a route names to the routes alone", () => {
		assert.equal(decide("payments", "/admin"), "refused");
		assert.ok(routing().isRouted("Payments:80"));
		assert.ok(!routing().isRouted("search"));
	});

	it("refuses a host that neither a route nor an upstream names", () => {
		assert.equal(decide("nobody", "/"), "refused");
	});
});
