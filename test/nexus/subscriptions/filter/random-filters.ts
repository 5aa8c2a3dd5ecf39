/** Filters and events drawn from few words, so that they meet often. */
import type { Rng } from "../../../../src/core/rng.ts";
import type { CloudEvent } from "../../../../src/events/cloud-event.ts";
import type { FilterDialect, FilterPart } from "../../../../src/nexus/subscriptions/filter/schema.ts";

const TYPES = ["order", "order.paid", "order.paid.late", "order.placed", "order.p", "stock.low", "stock", "5", "true"];
const SOURCES = ["/mesh/a/1", "/mesh/a/2", "/mesh/b/1", "/shop"];
const VALUES = ["eu", "us", "eu-west", "5", "true", "7"];
const EXTENSIONS = ["region", "total", "urgent", "tenant"];

export function randomEvent(random: Rng): CloudEvent {
	const event: Record<string, unknown> = {
		specversion: "1.0",
		id: String(Math.floor(random() * 10)),
		source: pick(random, SOURCES),
		type: pick(random, TYPES),
	};
	if (random() < 0.5) event.subject = pick(random, VALUES);
	if (random() < 0.6) event.priority = Math.floor(random() * 10);
	for (const name of EXTENSIONS) if (random() < 0.5) event[name] = pick<unknown>(random, [...VALUES, 5, 7, true, false]);
	event.data = pick<unknown>(random, ["order", { type: "order" }, undefined]);
	return event as unknown as CloudEvent;
}

export function randomFilter(random: Rng): FilterPart {
	if (random() < 0.1) return {};
	if (random() < 0.6) return { filters: Array.from({ length: 1 + Math.floor(random() * 2) }, () => randomDialect(random, 3)) };
	return {
		filter: {
			...(random() < 0.7 ? { type: pick(random, [...TYPES, "order.*", "*", "*.paid", "o*paid*", "stock*"]) } : {}),
			...(random() < 0.2 ? { source: pick(random, SOURCES) } : {}),
			...(random() < 0.2 ? { subject: pick(random, VALUES) } : {}),
			...(random() < 0.2 ? { priorityMin: Math.floor(random() * 10) } : {}),
			...(random() < 0.2 ? { metadata: { region: pick<string | string[]>(random, ["eu", ["eu", "us"]]), total: 5 } } : {}),
		},
	};
}

function randomDialect(random: Rng, depth: number): FilterDialect {
	const draw = random();
	if (depth > 0 && draw < 0.15) return { all: some(random, () => randomDialect(random, depth - 1)) };
	if (depth > 0 && draw < 0.3) return { any: some(random, () => randomDialect(random, depth - 1)) };
	if (depth > 0 && draw < 0.37) return { not: randomDialect(random, depth - 1) };
	if (draw < 0.5) return { exact: randomAttributes(random) };
	if (draw < 0.6) return { prefix: randomAttributes(random) };
	if (draw < 0.65) return { suffix: randomAttributes(random) };
	return { sql: randomSql(random, 3) };
}

function randomAttributes(random: Rng): Record<string, string> {
	return Object.fromEntries(some(random, () => [name(random), text(random)] as const));
}

function randomSql(random: Rng, depth: number): string {
	if (depth > 0 && random() < 0.5) {
		const operator = pick(random, ["AND", "AND", "OR", "XOR"]);
		return `(${randomSql(random, depth - 1)} ${operator} ${randomSql(random, depth - 1)})`;
	}
	const attribute = name(random);
	switch (Math.floor(random() * 8)) {
		case 0:
			return `${attribute} = '${text(random)}'`;
		case 1:
			return `'${text(random)}' = ${attribute}`;
		case 2:
			return `${attribute} ${pick(random, ["", "NOT "])}LIKE '${text(random)}%'`;
		case 3:
			return `${attribute} LIKE '${pick(random, ["order.p%", "eu", "o_der%", "%paid", "_u", "\\%"])}'`;
		case 4:
			return `${attribute} ${pick(random, ["", "NOT "])}IN ('${text(random)}', ${pick(random, ["5", "TRUE", "'us'", "region"])})`;
		case 5:
			return `${pick(random, ["", "NOT "])}EXISTS ${attribute}`;
		case 6:
			return `${attribute} ${pick(random, ["=", "<", "!="])} ${pick(random, ["5", "TRUE", "-1"])}`;
		default:
			return `LENGTH(${attribute}) > ${pick(random, ["2", "5"])}`;
	}
}

function name(random: Rng): string {
	return pick(random, ["type", "type", "source", "subject", "id", "priority", ...EXTENSIONS]);
}

function text(random: Rng): string {
	return pick(random, [...TYPES, ...SOURCES, ...VALUES]);
}

function some<T>(random: Rng, make: () => T): T[] {
	return Array.from({ length: 1 + Math.floor(random() * 3) }, make);
}

function pick<T>(random: Rng, from: readonly T[]): T {
	return from[Math.floor(random() * from.length)] as T;
}
