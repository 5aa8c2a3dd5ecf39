/** `CESQL_KIT=DIR node --test test/nexus/subscriptions/filter/cesql-kit.ts`: every case of the public test kit, from its YAML files in DIR. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { compileCesql } from "../../../../src/nexus/subscriptions/filter/cesql.ts";
import type { CesqlValue } from "../../../../src/nexus/subscriptions/filter/cesql-syntax.ts";

/** As the README of the kit describes it. */
interface KitCase {
	readonly name: string;
	/** A few cases misspell it. */
	readonly expression?: string;
	readonly expresion?: string;
	readonly result?: CesqlValue;
	readonly error?: string;
	readonly event?: CloudEvent;
	readonly eventOverrides?: Readonly<Record<string, CesqlValue>>;
}

const ANY_EVENT: CloudEvent = { specversion: "1.0", id: "e1", source: "https://shop.example/orders", type: "order.paid" };

const dir = process.env.CESQL_KIT;
assert.ok(dir !== undefined, "CESQL_KIT names the folder cesql/cesql_tck of a checkout of cloudevents/spec");
const files = readdirSync(dir).filter((name) => name.endsWith(".yaml"));
assert.ok(files.length > 0, `${dir} has no YAML files`);

for (const file of files) {
	const { name: suite, tests } = parse(readFileSync(join(dir, file), "utf8")) as { name: string; tests: KitCase[] };
	test(`${suite}, ${tests.length} cases`, async (t) => {
		for (const kitCase of tests) await t.test(kitCase.name, () => check(kitCase));
	});
}

function check({ expression, expresion, result, error, event, eventOverrides }: KitCase): void {
	const text = expression ?? expresion ?? "";
	const compiled = compileCesql(text);
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
