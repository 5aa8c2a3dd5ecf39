/** A policy file with the copy of Nexus' policy beside it: what explain tells, and copies that are not used. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { keptJson, readKept } from "../../src/policy/kept-copy.ts";
import { loadPolicyAsRun } from "../../src/policy/load-as-run.ts";
import { placeText } from "../../src/policy/place-text.ts";
import { temporaryFolder } from "../support/processes.ts";

const REMOTE = { version: 7, tag: "7:abc", text: "upstreams: { pay: { registry: nexus } }\n", author: "alice", reason: "why" };

function fileWith(t: TestContext, copy: string | undefined): string {
	const folder = temporaryFolder(t, "as-run");
	const file = join(folder, "policy.yaml");
	writeFileSync(file, 'service: checkout\nnexus: { url: "http://h:1" }\npolicy: { source: nexus, cacheDir: kept }\noutbound: {}\n');
	mkdirSync(join(folder, "kept"));
	if (copy !== undefined) writeFileSync(join(folder, "kept", "policy.json"), copy);
	return file;
}

describe("a policy as its sidecar would run it", () => {
	test("holds what Nexus has, with the version in each place", async (t) => {
		const { result, note } = await loadPolicyAsRun(fileWith(t, keptJson("checkout", REMOTE)), {}, 1);
		assert.ok(result.ok);
		const pay = result.snapshot.upstreams.get("pay");
		assert.equal(pay && placeText(pay.place), "nexus:checkout@7:1:14");
		assert.match(note ?? "", /^with version 7 of Nexus, as kept in /);
	});

	test("is the file alone where there is no copy, or none to be believed, and says so", async (t) => {
		const damaged = keptJson("checkout", REMOTE).replace("registry", "rogistry");
		for (const [copy, why] of [
			[undefined, /there is no such file/],
			["{", /is damaged/],
			[damaged, /is damaged/],
			[keptJson("payments", REMOTE), /is of the service payments/],
		] as const) {
			const { result, note } = await loadPolicyAsRun(fileWith(t, copy), {}, 1);
			assert.ok(result.ok && result.snapshot.upstreams.size === 0);
			assert.match(note ?? "", why);
		}
	});

	test("says nothing of Nexus where the file does not", async (t) => {
		const file = join(temporaryFolder(t, "as-run"), "policy.yaml");
		writeFileSync(file, "service: checkout\noutbound: {}\n");
		assert.equal((await loadPolicyAsRun(file, {}, 1)).note, undefined);
	});
});

test("a kept copy that is cut off or changed anywhere is not read as a policy", () => {
	const whole = keptJson("checkout", REMOTE);
	assert.deepEqual(readKept(whole, "checkout"), REMOTE);
	for (let length = 0; length < whole.length; length++) assert.equal(typeof readKept(whole.slice(0, length), "checkout"), "string");
});
