import assert from "node:assert/strict";
import { test } from "node:test";
import { diffSnapshots } from "../../src/policy/diff.ts";
import { loadPolicy } from "../../src/policy/load.ts";
import type { Snapshot } from "../../src/policy/snapshot.ts";

const BASE = `service: a
inbound: { application: 127.0.0.1:3000 }
outbound:
  routes:
    - { name: r, match: { host: u, headers: { x: "1" } }, to: u }
upstreams:
  u: { endpoints: [{ address: h:1 }], healthCheck: { path: /a } }
  v: { dns: { name: h, port: 1 } }
`;

function load(text: string): Snapshot {
	const result = loadPolicy(text, "p.yaml", {}, 1);
	assert.ok(result.ok, result.ok ? "" : result.faults.map((f) => f.message).join("\n"));
	return result.snapshot;
}

function diff(...edits: [from: string, to: string][]) {
	let after = BASE;
	for (const [from, to] of edits) {
		assert.ok(after.includes(from), from);
		after = after.replace(from, to);
	}
	return diffSnapshots(load(BASE), load(after));
}

test("comments, places and the way of writing are no difference", () => {
	const result = diff(
		["service: a", "# moved\n\nservice: 'a'"],
		['headers: { x: "1" }', 'headers:\n          { X: "1" }'],
		["path: /a }", "path: /a, interval: 5000ms }"],
	);
	assert.equal(result.empty, true);
	assert.deepEqual(
		[...result.upstreams],
		[
			["u", { kind: "unchanged" }],
			["v", { kind: "unchanged" }],
		],
	);
});

test("an upstream is added, removed or changed in named parts, and the others stay", () => {
	const result = diff(["  v: {", "  w: {"], ["address: h:1", "address: h:2"], ["path: /a", "path: /b"]);
	assert.equal(result.empty, false);
	assert.deepEqual(Object.fromEntries(result.upstreams), {
		u: { kind: "changed", parts: ["endpoints", "healthCheck"] },
		v: { kind: "removed" },
		w: { kind: "added" },
	});
	assert.deepEqual([result.inbound, result.outbound, result.settings], [{ kind: "unchanged" }, { kind: "unchanged" }, []]);
});

test("listeners tell which part changed, or that they came or went", () => {
	assert.deepEqual(diff(["outbound:\n", "outbound:\n  listen: 127.0.0.1:1\n"]).outbound, { kind: "changed", parts: ["listen"] });
	assert.deepEqual(diff(['x: "1"', 'x: "2"']).outbound, { kind: "changed", parts: ["routes"] });
	assert.deepEqual(diff(['x: "1"', 'y: "1"']).outbound, { kind: "changed", parts: ["routes"] });
	assert.deepEqual(diff(["3000 }", "3000, limits: { bodyIdleTimeout: 1s } }"]).inbound, { kind: "changed", parts: ["limits"] });
	assert.deepEqual(diff(["inbound: { application: 127.0.0.1:3000 }\n", ""]).inbound, { kind: "removed" });
	const without = load(BASE.replace("inbound: { application: 127.0.0.1:3000 }\n", ""));
	assert.deepEqual(diffSnapshots(without, load(BASE)).inbound, { kind: "added" });
	assert.deepEqual(diffSnapshots(without, without).inbound, { kind: "unchanged" });
});

test("routes in another order are a change, since the first that matches wins", () => {
	const two = BASE.replace("to: u }\n", "to: u }\n    - { name: s, to: v }\n");
	const turned = BASE.replace("    - { name: r", "    - { name: s, to: v }\n    - { name: r");
	assert.deepEqual(diffSnapshots(load(two), load(turned)).outbound, { kind: "changed", parts: ["routes"] });
});

test("settings of the whole sidecar are named one by one", () => {
	const result = diff([
		"service: a",
		"service: b\ndrainTimeout: 1s\naccessLog: {}\nadmin: { listen: 127.0.0.1:1 }\nnexus: { url: http://h }\ntrustDomain: x",
	]);
	assert.deepEqual(result.settings, ["service", "trustDomain", "admin", "nexus", "accessLogSample", "drainTimeoutMs"]);
});
