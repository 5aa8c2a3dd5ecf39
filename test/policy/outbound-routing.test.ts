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
    - { name: both, match: { path: /both }, split: [{ to: search, weight: 1 }, { to: payments, weight: 0 }] }
    - { name: moved, match: { path: /old }, redirect: { path: /new } }
    - { name: ours, match: { path: /ours, from: [tested] }, to: search }
    - { name: theirs, match: { path: /theirs, from: other }, to: search }
    - { name: part, match: { path: /part, percent: 40 }, to: search }
upstreams:
  payments: { endpoints: [ { address: 127.0.0.1:1 } ] }
  search: { endpoints: [ { address: 127.0.0.1:2 } ] }
`;

function routing(): OutboundRouting {
	const loaded = loadPolicy(POLICY, "/p.yaml", {}, 1);
	assert.ok(loaded.ok);
	const { outbound, upstreams } = loaded.snapshot;
	assert.ok(outbound !== undefined);
	return new OutboundRouting(outbound.routes, upstreams.keys(), { service: loaded.snapshot.service, rng: () => 0.5 });
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

	it("names an upstream only where the Host or a single destination does", () => {
		assert.equal(decide("x", "/both"), "both -> undefined");
		assert.equal(decide("x", "/old"), "moved -> undefined");
	});

	it("knows whose requests these are", () => {
		assert.equal(decide("x", "/ours"), "ours -> search");
		assert.equal(decide("x", "/theirs"), "refused");
	});

	it("draws once for each request, or not at all where no route asks", () => {
		const ask = (draw: number | undefined) => routing().decide("x", "/part", "GET", () => undefined, draw)?.route?.name;
		const parts = Array.from({ length: 1_000 }, (_, i) => ask(i / 1_000)).filter((name) => name === "part").length;
		assert.ok(parts > 350 && parts < 450, String(parts));
		assert.equal(routing().draw(), 0.5);
		assert.equal(new OutboundRouting([], ["u"], { service: "s", rng: () => assert.fail("nothing is drawn") }).draw(), undefined);
	});

	it("gives the same object for the same decision, so that what is made of it can be kept", () => {
		const one = routing();
		const ask = (target: string) => one.decide("payments", target, "GET", () => undefined);
		assert.equal(ask("/pay/1"), ask("/pay/2"));
	});

	it("refuses a host that neither a route nor an upstream names", () => {
		assert.equal(decide("nobody", "/"), "refused");
	});
});
