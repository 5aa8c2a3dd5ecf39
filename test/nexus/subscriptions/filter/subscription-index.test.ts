/** The index finds what a scan over all subscriptions finds, and looks at no more than it must. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../../src/core/rng.ts";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import { compileFilter, type Filter } from "../../../../src/nexus/subscriptions/filter/filter.ts";
import { PrefixTree } from "../../../../src/nexus/subscriptions/filter/prefix-tree.ts";
import { type FilterPart, filterPart } from "../../../../src/nexus/subscriptions/filter/schema.ts";
import { SubscriptionIndex } from "../../../../src/nexus/subscriptions/filter/subscription-index.ts";
import { randomEvent, randomFilter } from "./random-filters.ts";

const base: CloudEvent = { specversion: "1.0", id: "1", source: "/s", type: "order.paid" };

function filter(part: unknown): Filter {
	return compileFilter(filterPart.parse(part) as FilterPart);
}

/** A filter that counts how often it is asked. */
function counted(part: unknown, asked: { times: number }): Filter {
	const made = filter(part);
	return {
		...made,
		matches: (event) => {
			asked.times++;
			return made.matches(event);
		},
	};
}

test("for random filters and events, while subscriptions come, change and go, the index gives what a scan gives", () => {
	const random = seededRng(20260102);
	let matches = 0;
	let indexed = 0;
	for (let round = 0; round < 60; round++) {
		const index = new SubscriptionIndex<string>();
		const scan = new Map<string, Filter>();
		for (let step = 0; step < 150; step++) {
			const name = `s${Math.floor(random() * 60)}`;
			if (random() < 0.25) assert.equal(index.delete(name), scan.delete(name));
			else {
				const made = filter(randomFilter(random));
				index.set(name, made, name);
				scan.set(name, made);
			}
			assert.equal(index.size, scan.size);
			if (step % 3 > 0) continue;
			const event = randomEvent(random);
			const expected = [...scan].filter(([, { matches }]) => matches(event)).map(([found]) => found);
			assert.deepEqual(index.match(event).sort(), expected.sort(), JSON.stringify(event));
			matches += expected.length;
		}
		indexed += index.size - index.residualSize;
		for (const name of scan.keys()) assert.ok(index.delete(name));
		assert.deepEqual([index.size, index.residualSize, index.match(randomEvent(random))], [0, 0, []]);
	}
	assert.ok(matches > 10_000, `${matches} matches were compared`);
	assert.ok(indexed > 1000, `${indexed} filters had something necessary`);
});

test("an event asks only the subscriptions that have something in common with it", () => {
	const asked = { times: 0 };
	const index = new SubscriptionIndex<string>();
	const add = (name: string, part: unknown): void => index.set(name, counted(part, asked), name);
	for (let i = 0; i < 1000; i++) {
		add(`exact${i}`, { filters: [{ exact: { type: `order.${i}` } }] });
		add(`prefix${i}`, { filter: { type: `stock.${i}.*` } });
		add(`all${i}`, { filters: [{ all: [{ prefix: { type: "order." } }, { exact: { tenant: `t${i}` } }] }] });
		add(`any${i}`, { filters: [{ any: [{ exact: { type: `a.${i}` } }, { prefix: { source: `/${i}/` } }] }] });
		add(`sql${i}`, { filters: [{ sql: `type IN ('b.${i}', 'c.${i}') AND LENGTH(source) > 1` }] });
		add(`like${i}`, { filters: [{ sql: `subject LIKE 'x-${i}-%' OR source = '/y/${i}'` }] });
	}
	const match = (event: Partial<CloudEvent> & Record<string, unknown>): [string[], number] => {
		asked.times = 0;
		return [index.match({ ...base, ...event } as CloudEvent).sort(), asked.times];
	};
	assert.equal(index.residualSize, 0);
	assert.deepEqual(match({ type: "order.7" }), [["exact7"], 1]);
	assert.deepEqual(match({ type: "stock.7.low" }), [["prefix7"], 1]);
	assert.deepEqual(match({ type: "order.7", tenant: "t9" }), [["all9", "exact7"], 2]);
	assert.deepEqual(match({ type: "a.7", source: "/8/x" }), [["any7", "any8"], 2]);
	assert.deepEqual(match({ type: "c.7", source: "/z" }), [["sql7"], 1]);
	assert.deepEqual(match({ subject: "x-7-" }), [["like7"], 1]);
	assert.deepEqual(match({ type: "unknown" }), [[], 0]);
});

test("of two necessary conditions a subscription stands under the one with fewer others, in whatever order they are written", () => {
	for (const order of [0, 1]) {
		const asked = { times: 0 };
		const index = new SubscriptionIndex<number>();
		for (let i = 0; i < 200; i++) {
			const conditions = [{ exact: { type: "order.paid" } }, { exact: { tenant: `t${i}` } }];
			index.set(String(i), counted({ filters: order === 0 ? conditions : conditions.reverse() }, asked), i);
		}
		assert.deepEqual(index.match({ ...base, tenant: "t150" } as CloudEvent), [150]);
		assert.ok(asked.times <= 2, `${asked.times} were asked`);
	}
});

test("a subscription that stands under several attributes of one event is told once, and gone from all when deleted", () => {
	const index = new SubscriptionIndex<string>();
	index.set(
		"a",
		filter({ filters: [{ any: [{ exact: { type: "order.paid" } }, { prefix: { type: "order." } }, { exact: { source: "/s" } }] }] }),
		"first",
	);
	assert.deepEqual(index.match(base), ["first"]);
	index.set("a", filter({ filter: { type: "other" } }), "second");
	assert.deepEqual(index.match(base), []);
	assert.deepEqual(index.match({ ...base, type: "other" }), ["second"]);
	assert.equal(index.delete("a"), true);
	assert.equal(index.delete("a"), false);
	assert.deepEqual(index.match({ ...base, type: "other" }), []);
});

test("events find their subscriptions also where these ask for more kinds of attributes than an event has", () => {
	const index = new SubscriptionIndex<number>();
	for (let i = 0; i < 500; i++) index.set(String(i), filter({ filter: { metadata: { [`x${i}`]: i } } }), i);
	assert.deepEqual(index.match({ ...base, x7: 7, x8: "8", x9: 10 } as CloudEvent).sort(), [7, 8]);
});

test("a prefix tree keeps what stands in it, and nothing of what has gone", () => {
	const random = seededRng(3);
	const tree = new PrefixTree<string>();
	const kept = new Set<string>();
	const word = (): string => Array.from({ length: Math.floor(random() * 6) }, () => "ab.\u{1f600}".charAt(Math.floor(random() * 5))).join("");
	for (let i = 0; i < 4000; i++) {
		const prefix = word();
		if (random() < 0.5) {
			tree.add(prefix, prefix);
			kept.add(prefix);
		} else {
			tree.delete(prefix, prefix);
			kept.delete(prefix);
		}
		const text = word();
		const found: Set<string>[] = [];
		tree.collect(text, found);
		assert.deepEqual(found.flatMap((set) => [...set]).sort(), [...kept].filter((one) => text.startsWith(one)).sort());
		assert.equal(tree.sizeAt(text), kept.has(text) ? 1 : 0);
	}
	for (const prefix of kept) tree.delete(prefix, prefix);
	assert.ok(tree.isEmpty);
});
