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
		"service: b\ndrainTimeout: 1s\naccessLog: {}\nadmin: { listen: 127.0.0.1:1 }\nnexus: { url: http://h }\ntrustDomain: x\nzone: z\ntracing: { otlp: http://h, allow: [] }",
	]);
	assert.deepEqual(result.settings, [
		"service",
		"trustDomain",
		"zone",
		"admin",
		"nexus",
		"tracing",
		"traceAllowed",
		"accessLogSample",
		"drainTimeoutMs",
	]);
});

test("each part of resilience and balancing is a part of its own", () => {
	const cases: [written: string, parts: string[]][] = [
		["hashOn: ip, loadBalancing: maglev", ["loadBalancing", "balancing"]],
		["panicThreshold: 10", ["balancing"]],
		["circuitBreaker: {}", ["circuitBreaker", "concurrency"]],
		["circuitBreaker: { failureThreshold: 0 }", ["concurrency"]],
		["outlierDetection: { consecutiveFailures: 3 }", ["outlierDetection"]],
		["retry: { attempts: 1 }", ["retry"]],
		["retry: { budget: { ratio: 0.1 } }", ["retryBudget"]],
		["rateLimits: [{ name: a, requestsPerSecond: 1 }]", ["rateLimits"]],
		["fault: { abort: {} }", ["faults"]],
		["retry: {}, outlierDetection: {}, rateLimits: [], timeout: {}", []],
	];
	for (const [written, parts] of cases) {
		const result = diff(["address: h:1 }]", `address: h:1 }], ${written}`]);
		assert.deepEqual(result.upstreams.get("u"), parts.length === 0 ? { kind: "unchanged" } : { kind: "changed", parts }, written);
	}
	const inbound = diff(["3000 }", "3000, rateLimits: [{ name: a, requestsPerSecond: 1 }], circuitBreaker: {} }"]).inbound;
	assert.deepEqual(inbound, { kind: "changed", parts: ["rateLimits", "circuitBreaker", "concurrency"] });
});

test("what policies say is a change of the upstreams that they fill, whichever way it is written", () => {
	const filled = diff(["service: a", "service: a\npolicies: [{ to: u, retry: { attempts: 1 } }]"]);
	assert.deepEqual(Object.fromEntries(filled.upstreams), { u: { kind: "changed", parts: ["retry"] }, v: { kind: "unchanged" } });
	const policy = BASE.replace("service: a", "service: a\npolicies: [{ to: u, retry: { attempts: 1 } }]");
	const own = BASE.replace("address: h:1 }]", "address: h:1 }], retry: { attempts: 1 }");
	assert.equal(diffSnapshots(load(policy), load(own)).empty, true);
});

test("a fault that ends after a while is not changed by being read again, one with another end is", () => {
	const at = (text: string, wallMs: number) => {
		const result = loadPolicy(text, "p.yaml", {}, 1, wallMs);
		assert.ok(result.ok);
		return result.snapshot;
	};
	const lease = (written: string) => BASE.replace("address: h:1 }]", `address: h:1 }], fault: { abort: {}, ${written} }`);
	assert.equal(diffSnapshots(at(lease("for: 10m"), 1_000), at(lease("for: 10m"), 61_000)).empty, true);
	assert.equal(diffSnapshots(at(lease("for: 10m"), 1_000), at(lease("for: 11m"), 1_000)).empty, false);
	const [one, two] = ["2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"].map((end) => at(lease(`expiresAt: "${end}"`), 1_000));
	assert.ok(one !== undefined && two !== undefined);
	assert.equal(diffSnapshots(one, two).empty, false);
});
