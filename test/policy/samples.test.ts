import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { formatFaults, loadEndpoints, loadPolicy } from "../../src/policy/load.ts";
import { damage, int, one } from "./damage.ts";

const FOLDER = new URL("../../config/samples/", import.meta.url);
const SAMPLES = readdirSync(FOLDER)
	.filter((name) => name.endsWith(".yaml"))
	.map((name) => ({ name, text: readFileSync(new URL(name, FOLDER), "utf8") }));

for (const { name, text } of SAMPLES) {
	test(`config/samples/${name} is a policy without a fault, and tells editors its schema`, () => {
		const result = loadPolicy(text, name, {}, 1);
		assert.ok(result.ok, result.ok ? "" : formatFaults(result.faults, text));
		assert.match(text, /^# yaml-language-server: \$schema=\.\.\/policy\.schema\.json\n/);
	});
}

test("the examples of docs/policy.md are policies without a fault", () => {
	const page = readFileSync(new URL("../../docs/policy.md", import.meta.url), "utf8");
	const examples = [...page.matchAll(/```yaml\n([^#][\s\S]*?)```/g)].map(([, yaml = ""]) => yaml);
	assert.equal(examples.length, 3);
	for (const yaml of examples) {
		const text = `service: checkout\n${yaml.includes("outbound:") ? "" : "outbound: {}\n"}${yaml}`;
		const result = loadPolicy(text, "example.yaml", {}, 1);
		assert.ok(result.ok, result.ok ? "" : formatFaults(result.faults, text));
	}
});

test("every file of endpoints that a sample names exists and is read", () => {
	let files = 0;
	for (const { name, text } of SAMPLES) {
		const result = loadPolicy(text, new URL(name, FOLDER).pathname, {}, 1);
		assert.ok(result.ok);
		for (const { endpoints } of result.snapshot.upstreams.values()) {
			if (endpoints.kind !== "file") continue;
			files++;
			assert.ok(loadEndpoints(readFileSync(endpoints.path, "utf8"), endpoints.path, {}).ok, endpoints.path);
		}
	}
	assert.ok(files > 0);
});

test("the full sample holds every key of the schema", () => {
	const full = SAMPLES.find(({ name }) => name === "full.yaml")?.text ?? "";
	const schema = readFileSync(new URL("../policy.schema.json", FOLDER), "utf8");
	const keys = new Set<string>();
	JSON.parse(schema, (key, value) => {
		if (key === "properties") for (const name of Object.keys(value)) keys.add(name);
		return value;
	});
	assert.ok(keys.size > 30);
	// `method` is the short form of `methods`; both at once are a fault.
	for (const key of keys) assert.match(full, new RegExp(`\\b${key}:`), `full.yaml does not show \`${key}\``);
});

test("thousands of damaged policies are refused or accepted, each fault with a place inside the file, and nothing throws", () => {
	const rng = seededRng(20_261_121);
	let refused = 0;
	let accepted = 0;
	for (let round = 0; round < 4_000; round++) {
		const { text } = one(rng, SAMPLES);
		let damaged = text;
		for (let edits = 1 + int(rng, 3); edits > 0; edits--) damaged = damage(damaged, rng);
		const result = loadPolicy(damaged, "f.yaml", {}, 1);
		if (result.ok) {
			accepted++;
			continue;
		}
		refused++;
		const lines = damaged.split("\n");
		assert.ok(result.faults.length > 0, damaged);
		for (const { place, width, message } of result.faults) {
			const line = lines[place.line - 1];
			assert.ok(line !== undefined && place.column >= 1 && place.column <= line.length + 1 && width >= 1, `${JSON.stringify(place)} in\n${damaged}`);
			assert.ok(message.length > 0 && !/undefined|\[object/.test(message), message);
		}
		assert.ok(formatFaults(result.faults, damaged).startsWith("f.yaml:"));
	}
	assert.ok(refused > 2_000 && accepted > 200, `${refused} refused, ${accepted} accepted: the damage is too weak or too strong`);
});
