/** A policy in two texts: who wins, what each place says, and what the text of Nexus may not say. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nexusFile } from "../../src/policy/layers.ts";
import { type LoadResult, loadLayeredPolicy } from "../../src/policy/load.ts";
import { placeText } from "../../src/policy/place-text.ts";
import type { Snapshot } from "../../src/policy/snapshot.ts";

const LOCAL = `service: checkout
admin: { listen: 127.0.0.1:0 }
nexus: { url: "http://127.0.0.1:7400" }
policy: { source: nexus }
outbound: { listen: 127.0.0.1:0 }
upstreams:
  payments:
    endpoints: [{ address: 127.0.0.1:1 }]
    timeout: { connect: 2s }
`;

function load(nexus: string, { local = LOCAL, wins = "local" as "local" | "nexus", env = {} } = {}): LoadResult {
	return loadLayeredPolicy({ local: { text: local, file: "local.yaml" }, nexus: { text: nexus, file: nexusFile("checkout", 7) }, wins }, env, 1, 0);
}

function snapshotOf(result: LoadResult): Snapshot {
	assert.ok(result.ok, result.ok ? "" : JSON.stringify(result.faults));
	return result.snapshot;
}

function faultsOf(result: LoadResult): string[] {
	assert.ok(!result.ok);
	return result.faults.map(({ place, message }) => `${placeText(place)} ${message}`);
}

describe("a policy of two texts", () => {
	test("is merged key by key, each value with the place in its own text", () => {
		const { upstreams } = snapshotOf(load("upstreams:\n  payments:\n    timeout: { request: 3s, connect: 9s }\n  search:\n    registry: nexus\n"));
		const payments = upstreams.get("payments");
		assert.deepEqual(payments?.timeout, { requestMs: 3000, connectMs: 2000, idleMs: 60_000 });
		const places = [...(payments?.places ?? [])].map(([key, place]) => `${key} ${placeText(place)}`);
		assert.deepEqual(places, ["timeout.connect local.yaml:9:16", "timeout.request nexus:checkout@7:3:16"]);
		assert.equal(placeText(upstreams.get("search")?.place ?? { file: "", line: 0, column: 0 }), "nexus:checkout@7:4:3");
		assert.deepEqual(upstreams.get("search")?.endpoints, { kind: "registry", service: "search" });
	});

	test("lets Nexus win where the file says so", () => {
		const { upstreams } = snapshotOf(load("upstreams: { payments: { timeout: { connect: 9s } } }\n", { wins: "nexus" }));
		assert.equal(upstreams.get("payments")?.timeout.connectMs, 9000);
	});

	test("takes where the endpoints are from whoever wins, as one of the ways alone may be given", () => {
		const text = "upstreams: { payments: { dns: { name: pay.internal, port: 80 } } }\n";
		assert.equal(snapshotOf(load(text)).upstreams.get("payments")?.endpoints.kind, "static");
		assert.equal(snapshotOf(load(text, { wins: "nexus" })).upstreams.get("payments")?.endpoints.kind, "dns");
	});

	test("refuses what is of the sidecar's own file, and the policy of another service", () => {
		const text = 'service: payments\nnexus: { url: "http://evil" }\nidentity: { nexus: { tokenFile: x } }\nadmin: { listen: 0.0.0.0:1 }\n';
		assert.deepEqual(faultsOf(load(text)), [
			"nexus:checkout@7:1:10 this is the policy of another service",
			"nexus:checkout@7:2:1 `nexus` is of the sidecar's own file",
			"nexus:checkout@7:3:1 `identity` is of the sidecar's own file",
			"nexus:checkout@7:4:1 `admin` is of the sidecar's own file",
		]);
	});

	test("tells faults of both texts at once, each in its own", () => {
		const local = LOCAL.replace("2s", "2 parsecs");
		assert.deepEqual(faultsOf(load("upstreams:\n  payments:\n    retrry: {}\n", { local })), [
			"local.yaml:9:25 `2 parsecs` is not a duration",
			"nexus:checkout@7:3:5 unknown key `retrry`",
		]);
	});

	test("tells what is no YAML at its place", () => {
		assert.deepEqual(
			faultsOf(load("upstreams: [\n")).map((fault) => fault.split(" ")[0]),
			["nexus:checkout@7:2:1"],
		);
		assert.deepEqual(faultsOf(load("just words\n")), ["nexus:checkout@7:1:1 the policy of Nexus is no mapping"]);
	});

	test("keeps what aliases share: a small text does not grow beyond bounds", () => {
		const bomb = ["a0: &a0 [x]", ...Array.from({ length: 22 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}, *a${i}]`)].join("\n");
		const faults = faultsOf(load(`${bomb}\n`));
		assert.ok(
			faults.some((fault) => fault.includes("too many values")),
			faults.join("\n"),
		);
	});

	test("needs neither inbound nor outbound in the file, as Nexus may say all about traffic", () => {
		const local = 'service: checkout\nnexus: { url: "http://h:1" }\npolicy: { source: nexus }\n';
		assert.equal(snapshotOf(load("outbound: { listen: 127.0.0.1:0 }\n", { local })).outbound?.listen.port, 0);
	});
});
