/** What one event costs among 10, 1,000 and 100,000 subscriptions, by index and by scan; and what one evaluation of a filter costs. */
import { hrtime } from "node:process";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import type { CloudEvent } from "../../src/events/cloud-event.ts";
import { compileFilter, type Filter } from "../../src/nexus/subscriptions/filter/filter.ts";
import { type FilterPart, filterPart } from "../../src/nexus/subscriptions/filter/schema.ts";
import { SubscriptionIndex } from "../../src/nexus/subscriptions/filter/subscription-index.ts";
import { figure, type Table, thousands } from "../table.ts";
import type { PartReport } from "./part.ts";

const SUBSCRIPTIONS = [10, 1_000, 100_000];
const EVENTS = 1_000;
// Long enough for the compiler to be done, and for a clock of microseconds to be exact.
const MEASURE_MS = 500;

/** The mix of a mesh with many tenants: every event passes about three of them, however many there are. */
function subscription(n: number): FilterPart {
	switch (n % 5) {
		case 0:
			return { filters: [{ exact: { type: `shop.order.${n}` } }] };
		case 1:
			return { filter: { type: `shop.stock.${n}.*`, priorityMin: 2 } };
		case 2:
			return { filters: [{ exact: { tenant: `t${n}` } }, { prefix: { type: "shop." } }] };
		case 3:
			return { filters: [{ any: [{ exact: { source: `/mesh/${n}/a` } }, { exact: { subject: `s-${n}` } }] }] };
		default:
			return { filters: [{ sql: `type LIKE 'shop.sale.${n}%' AND LENGTH(source) > 3 AND NOT EXISTS muted` }] };
	}
}

function eventFor(random: Rng, subscriptions: number): CloudEvent {
	const like = (remainder: number): number => Math.floor((random() * subscriptions) / 5) * 5 + remainder;
	const types = [`shop.order.${like(0)}`, `shop.stock.${like(1)}.low`, `shop.sale.${like(4)}`];
	return {
		specversion: "1.0",
		id: "0198c0de-0000-7000-8000-000000000000",
		source: `/mesh/${like(3)}/a`,
		type: types[Math.floor(random() * types.length)] as string,
		subject: `s-${like(3)}`,
		time: "2026-01-02T03:04:05.678Z",
		priority: 5,
		partitionkey: "a",
		tenant: `t${like(2)}`,
	} as CloudEvent;
}

function filterOf(part: FilterPart): Filter {
	return compileFilter(filterPart.parse(part) as FilterPart);
}

/** Nanoseconds of one call; `step` is called with 0, 1, 2, ... */
function nanosecondsOf(step: (n: number) => number): { each: number; result: number } {
	let calls = 0;
	let result = 0;
	const run = (ms: number): number => {
		const start = hrtime.bigint();
		const end = start + BigInt(ms) * 1_000_000n;
		const before = calls;
		let now = start;
		while (now < end) {
			const chunk = calls + 64;
			while (calls < chunk) result += step(calls++);
			now = hrtime.bigint();
		}
		return Number(now - start) / (calls - before);
	};
	run(MEASURE_MS / 2);
	return { each: run(MEASURE_MS), result: result / calls };
}

function indexTable(): Table {
	const rows = SUBSCRIPTIONS.map((count) => {
		const random = seededRng(count);
		const filters = Array.from({ length: count }, (_, n) => filterOf(subscription(n)));
		const index = new SubscriptionIndex<number>();
		const start = hrtime.bigint();
		filters.forEach((filter, n) => void index.set(`s${n}`, filter, n));
		const builtMs = Number(hrtime.bigint() - start) / 1e6;
		const events = Array.from({ length: EVENTS }, () => eventFor(random, count));
		const indexed = nanosecondsOf((n) => index.match(events[n % EVENTS] as CloudEvent).length);
		const scanned = nanosecondsOf((n) => filters.filter((filter) => filter.matches(events[n % EVENTS] as CloudEvent)).length);
		return [thousands(count), thousands(indexed.each), thousands(scanned.each), figure(indexed.result, 2), figure(builtMs, 0)];
	});
	return {
		title: "What one event costs among subscriptions",
		columns: ["subscriptions", "by index, ns/event", "by scan, ns/event", "matches/event", "built in, ms"],
		rows,
		notes: [],
	};
}

function filterTable(): Table {
	const parts: FilterPart[] = [
		{ filters: [{ exact: { type: "shop.order.1" } }] },
		{ filters: [{ prefix: { type: "shop." } }, { exact: { tenant: "t1" } }] },
		{ filter: { type: "shop.*", priorityMin: 3, metadata: { tenant: ["t1", "t2"] } } },
		{ filters: [{ sql: "type = 'shop.order.1'" }] },
		{ filters: [{ sql: "type LIKE 'shop.%' AND priority > 3" }] },
		{ filters: [{ sql: "type IN ('a', 'shop.order.1') AND source LIKE '%/a' AND NOT EXISTS muted" }] },
		{ filters: [{ sql: "LENGTH(subject) > 2 AND UPPER(tenant) = 'T1' AND INT(total) / 2 >= 50" }] },
		{ filters: [{ sql: "subject LIKE 's-_' OR missing = 'x'" }] },
	];
	const event = { ...eventFor(seededRng(1), 1), type: "shop.order.1", source: "/mesh/3/a", subject: "s-3", tenant: "t1", total: "120" } as CloudEvent;
	const rows = parts.map((part) => {
		const { matches } = filterOf(part);
		const { each, result } = nanosecondsOf(() => (matches(event) ? 1 : 0));
		return [JSON.stringify(part.filter ?? part.filters), figure(each, 1), result === 1 ? "yes" : "no"];
	});
	return { title: "What one evaluation of a filter costs", columns: ["filter", "ns", "passes"], rows, notes: [] };
}

/** In this process, without a Nexus. */
export async function measureFilters(): Promise<PartReport> {
	const tables = [indexTable(), filterTable()];
	return { tables, verdicts: [], figures: tables.map(({ title, columns, rows }) => ({ title, columns, rows })) };
}
