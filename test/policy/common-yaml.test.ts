// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the policy has this syntax as well
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { readCommonYaml } from "../../src/policy/common-yaml.ts";
import { type Node, type TreeFault, toPlain } from "../../src/policy/tree.ts";
import { readYaml } from "../../src/policy/yaml-reader.ts";
import { damage, int, one } from "./damage.ts";

const FOLDER = new URL("../../config/samples/", import.meta.url);
const SAMPLES = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
	.filter((name) => name.endsWith(".yaml"))
	.map((name) => ({ name, text: readFileSync(new URL(name, FOLDER), "utf8") }));

/** Where each key and each item begins, and each value. */
function outline(node: Node, path = ""): string[] {
	switch (node.kind) {
		case "scalar":
			return [`${path} = ${JSON.stringify(node.value)}`];
		case "list":
			return node.items.flatMap((item, i) => [`${path}[${i}] at ${item.start}`, ...outline(item, `${path}[${i}]`)]);
		case "map":
			return [...node.entries].flatMap(([key, { keySpan, value }]) => [`${path}.${key} at ${keySpan.start}`, ...outline(value, `${path}.${key}`)]);
	}
}

/** True where the common reader took the text, having checked that the library reads the same. */
function agrees(text: string): boolean {
	const common = readCommonYaml(text);
	if (common === undefined) return false;
	const faults: TreeFault[] = [];
	const library = readYaml(text, faults);
	assert.deepEqual(faults, [], `the library refuses what the common reader took:\n${text}`);
	assert.ok(library !== undefined);
	assert.deepEqual(outline(common), outline(library), text);
	assert.deepEqual(toPlain(common, {}, []), toPlain(library, {}, []), text);
	return true;
}

for (const { name, text } of SAMPLES) {
	test(`config/samples/${name} is common YAML, read as the library reads it`, () => {
		assert.ok(agrees(text));
	});
}

test("each form of the common kind is taken, and means what it means to the library", () => {
	const texts = [
		"a: 1",
		"a: 1\n",
		"\n\n# c\na: 1 # d\n\n",
		"  a: 1\n  b: 2\n",
		"a:\n  b:\n    c: d\n  e: f\n",
		"a:\nb: 1\n",
		"a: # later\n  b: 1\n",
		"a:\n- b\n- c: 1\n  d: 2\n-   e\ng: h\n",
		"a:\n  - - b\n    - c\n  - d: [1]\n",
		"- a\n- b: c\n  d:\n  - e\n",
		"a: { b: 1, c: [x, \"y # z\", 'w'], d: {} , e: [], }\n",
		"a: [ { b: c }, { d: e } ]  # f\n",
		"a: http://h:1/b?c=d#e\nb: [http://h:1/b]\n",
		"a: null\nb: Null\nc: true\nd: FALSE\ne: nullable\nf: 1.50\ng: 10.0.0.1\nh: 5s\ni: 0\nj: 00x\n",
		'a: ""\nb: \'\'\nc: "x: y" # d\n',
		"a: x  y   \nb: it's\nc: a\"b\nd: a # b\ne: a#b\n",
		"1a: b\n2.x: c\n",
		"a: ${B:-c:d}\n",
		"a: 1\n# x\n  # y\nb: 2\n",
	];
	for (const text of texts) assert.ok(agrees(text), `left to the library: ${JSON.stringify(text)}`);
});

test("what is unusual or no YAML is left to the library", () => {
	const texts = [
		"",
		"# only\n",
		"a\n",
		"a: b: c\n",
		"a: b\n  c\n",
		"a: |\n  b\n",
		"a: &x b\nc: *x\n",
		"a: !!str 1\n",
		"---\na: 1\n",
		"a: 1\n---\nb: 2\n",
		"a: 1\n...\n",
		"%YAML 1.2\n",
		"? a\n: b\n",
		"a: 1\na: 2\n",
		"\ta: 1\n",
		"a:\t1\n",
		"a: [b,\n  c]\n",
		"a: { b, c: 1 }\n",
		"a: [b: c]\n",
		"a: {b: c}d\n",
		'a: "b" c\n',
		'a: "b\\n"\n',
		"a: 'b''c'\n",
		"a: 0x1f\nb: 1e3\n",
		"a: 007\n",
		"a: -\n",
		"a: @b\n",
		"a: b\r\nc: d\r\n",
		"a: é\n",
		"true: 1\n",
		"1: 1\n",
		"a:\n    b: 1\n  c: 2\n",
		"a:\n  b: 1\n - c\n",
		"- a\nb: c\n",
		`${"a".repeat(200)}: 1\n`,
		`a: ${"[".repeat(40)}${"]".repeat(40)}\n`,
	];
	for (const text of texts) assert.equal(readCommonYaml(text), undefined, JSON.stringify(text));
});

test("tens of thousands of damaged texts mean the same to both readers, or are left to the library", () => {
	const rng = seededRng(4);
	const small = [
		"a: { b: c, d: [e, 'f'], g: { h: 1 } }\ni:\n  - j: k\n  -  l\n",
		"a: 1\nb:\n  - c: 2\n    d: [e, f]\n  - g\nh: { i: j }\n",
		"x:\n- y: \"z\"\n- 'w'\n# c\nv: u # t\n",
	];
	let taken = 0;
	let left = 0;
	for (let round = 0; round < 20_000; round++) {
		let text = round % 10 === 0 ? one(rng, SAMPLES).text : one(rng, small);
		for (let edits = 1 + int(rng, 3); edits > 0; edits--) text = damage(text, rng);
		if (agrees(text)) taken++;
		else left++;
	}
	assert.ok(taken > 3_000 && left > 3_000, `${taken} taken, ${left} left`);
});
