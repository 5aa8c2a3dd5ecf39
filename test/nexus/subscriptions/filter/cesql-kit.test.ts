/** Every case of the public test kit of CESQL, from its YAML files in the folder that CESQL_KIT names. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { compileCesql } from "../../../../src/nexus/subscriptions/filter/cesql.ts";
import type { CesqlValue } from "../../../../src/nexus/subscriptions/filter/cesql-syntax.ts";

/** As the README of the kit describes it. */
interface KitCase {
	readonly name: string;
	readonly expression: string;
	readonly result?: CesqlValue;
	readonly error?: string;
	readonly event?: CloudEvent;
	readonly eventOverrides?: Readonly<Record<string, CesqlValue>>;
}

const ANY_EVENT: CloudEvent = { specversion: "1.0", id: "e1", source: "https://shop.example/orders", type: "order.paid" };

const dir = process.env.CESQL_KIT;
const skip = dir === undefined && "CESQL_KIT does not name the folder of the kit (docs/decisions/0075)";

test("the public test kit of CESQL passes, all of its 275 cases", { skip }, async (t) => {
	let cases = 0;
	for (const file of readdirSync(dir ?? "").filter((name) => name.endsWith(".yaml"))) {
		const { name: suite, tests } = readKit(readFileSync(join(dir ?? "", file), "utf8"));
		cases += tests.length;
		await t.test(suite, () => tests.forEach(check));
	}
	assert.ok(cases >= 275, `${cases} cases`);
});

/** Names and expressions are text as it is written, also where YAML would read `TRUE` or `-10` as something else. */
function readKit(yaml: string): { name: string; tests: KitCase[] } {
	const document = parseDocument(yaml);
	const kit = document.toJS() as { name: string; tests: KitCase[] };
	const items = document.get("tests");
	assert.ok(isSeq(items));
	const tests = kit.tests.map((kitCase, i) => {
		const item = items.items[i];
		assert.ok(isMap(item));
		const textAt = (...keys: string[]): string => {
			const scalar = keys.map((key) => item.get(key, true)).find(isScalar);
			assert.ok(scalar !== undefined, `${keys[0]} is missing`);
			return typeof scalar.value === "string" ? scalar.value : String(scalar.source);
		};
		// A few cases misspell it.
		return { ...kitCase, name: textAt("name"), expression: textAt("expression", "expresion") };
	});
	return { name: kit.name, tests };
}

function check({ name, expression, result, error, event, eventOverrides }: KitCase): void {
	const text = `${name}: ${expression}`;
	const compiled = compileCesql(expression);
	const { value, errors } = compiled.ok
		? compiled.expression.evaluate({ ...(event ?? ANY_EVENT), ...eventOverrides })
		: { value: undefined, errors: [compiled.error] };
	const kinds: readonly string[] = errors.map(({ kind }) => kind);
	if (error === "parse") assert.deepEqual(kinds, ["parse"], text);
	else {
		if (result !== undefined) assert.equal(value, result, text);
		if (error === undefined) assert.deepEqual(kinds, [], text);
		else assert.ok(kinds.includes(error), `${text}: ${kinds}`);
	}
}
