/** A checked filter made ready: the predicate, and what the index needs to know. */

import { compileCesql, errorText } from "./cesql.ts";
import { type Condition, compileCondition, type Predicate } from "./condition.ts";
import { type Need, needOf } from "./need.ts";
import type { FilterDialect, FilterPart, ShortFilter } from "./schema.ts";

export interface Filter {
	readonly matches: Predicate;
	readonly condition: Condition;
	/** Undefined where any event may pass. */
	readonly need: Need | undefined;
}

/** `part` has passed `filterPart`; without a filter every event passes. */
export function compileFilter(part: FilterPart): Filter {
	const filters = part.filters?.map(conditionOf) ?? [];
	return filterOf(part.filter === undefined ? all(filters) : all([shortCondition(part.filter), ...filters]));
}

export function filterOf(condition: Condition): Filter {
	return { matches: compileCondition(condition), condition, need: needOf(condition) };
}

function shortCondition({ type, source, subject, priorityMin, metadata }: ShortFilter): Condition {
	const conditions: Condition[] = [];
	if (type !== undefined && type !== "*") conditions.push({ kind: "pattern", attribute: "type", pattern: type });
	if (source !== undefined) conditions.push({ kind: "equals", attribute: "source", values: [source] });
	if (subject !== undefined) conditions.push({ kind: "equals", attribute: "subject", values: [subject] });
	if (priorityMin !== undefined) conditions.push({ kind: "priority", least: priorityMin });
	for (const [attribute, wanted] of Object.entries(metadata ?? {})) {
		conditions.push({ kind: "equals", attribute, values: (Array.isArray(wanted) ? wanted : [wanted]).map(String) });
	}
	return all(conditions);
}

function conditionOf(dialect: FilterDialect): Condition {
	if (dialect.exact !== undefined) {
		return all(Object.entries(dialect.exact).map(([attribute, value]): Condition => ({ kind: "equals", attribute, values: [value] })));
	}
	if (dialect.prefix !== undefined) {
		return all(Object.entries(dialect.prefix).map(([attribute, value]): Condition => ({ kind: "prefix", attribute, value })));
	}
	if (dialect.suffix !== undefined) {
		return all(Object.entries(dialect.suffix).map(([attribute, value]): Condition => ({ kind: "suffix", attribute, value })));
	}
	if (dialect.all !== undefined) return all(dialect.all.map(conditionOf));
	if (dialect.any !== undefined) return { kind: "any", of: dialect.any.map(conditionOf) };
	if (dialect.not !== undefined) return { kind: "not", of: conditionOf(dialect.not) };
	const compiled = compileCesql(dialect.sql ?? "");
	if (!compiled.ok) throw new Error(`the filter was not checked: ${errorText(compiled.error)}`);
	return { kind: "sql", expression: compiled.expression };
}

function all(conditions: readonly Condition[]): Condition {
	const [only] = conditions;
	return only !== undefined && conditions.length === 1 ? only : { kind: "all", of: conditions };
}
