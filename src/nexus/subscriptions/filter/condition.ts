/** What a filter asks of an event, whatever language it was written in; compiled to one predicate. */
import type { CloudEvent } from "../../../events/cloud-event.ts";
import { compilePattern } from "../../log/event-matcher.ts";
import { attributeReader, textOf } from "./attributes.ts";
import type { CesqlExpression } from "./cesql.ts";

/** Attributes are compared in their canonical text; a condition on a missing one does not hold. */
export type Condition =
	| { readonly kind: "equals"; readonly attribute: string; readonly values: readonly string[] }
	| { readonly kind: "prefix"; readonly attribute: string; readonly value: string }
	| { readonly kind: "suffix"; readonly attribute: string; readonly value: string }
	/** `*` stands for any run of characters. */
	| { readonly kind: "pattern"; readonly attribute: string; readonly pattern: string }
	/** An event without a priority counts as 0. */
	| { readonly kind: "priority"; readonly least: number }
	| { readonly kind: "all"; readonly of: readonly Condition[] }
	| { readonly kind: "any"; readonly of: readonly Condition[] }
	| { readonly kind: "not"; readonly of: Condition }
	| { readonly kind: "sql"; readonly expression: CesqlExpression };

export type Predicate = (event: CloudEvent) => boolean;

export function compileCondition(condition: Condition): Predicate {
	switch (condition.kind) {
		case "equals":
			return compileEquals(condition.attribute, condition.values);
		case "prefix": {
			const { value } = condition;
			return onText(condition.attribute, (text) => text.startsWith(value));
		}
		case "suffix": {
			const { value } = condition;
			return onText(condition.attribute, (text) => text.endsWith(value));
		}
		case "pattern":
			return onText(condition.attribute, compilePattern(condition.pattern));
		case "priority": {
			const { least } = condition;
			return (event) => (event.priority ?? 0) >= least;
		}
		case "all":
			return compileAll(condition.of.map(compileCondition));
		case "any":
			return compileAny(condition.of.map(compileCondition));
		case "not": {
			const holds = compileCondition(condition.of);
			return (event) => !holds(event);
		}
		case "sql":
			return condition.expression.matches;
	}
}

function compileEquals(attribute: string, values: readonly string[]): Predicate {
	if (values.length > 1) {
		const set = new Set(values);
		return onText(attribute, (text) => set.has(text));
	}
	const wanted = values[0];
	return onText(attribute, (text) => text === wanted);
}

function onText(attribute: string, holds: (text: string) => boolean): Predicate {
	const read = attributeReader(attribute);
	return (event) => {
		const value = read(event);
		return value !== undefined && holds(textOf(value));
	};
}

function compileAll(predicates: readonly Predicate[]): Predicate {
	const [first, second] = predicates;
	if (first === undefined) return () => true;
	if (second === undefined) return first;
	if (predicates.length === 2) return (event) => first(event) && second(event);
	return (event) => {
		for (const holds of predicates) if (!holds(event)) return false;
		return true;
	};
}

function compileAny(predicates: readonly Predicate[]): Predicate {
	return (event) => {
		for (const holds of predicates) if (holds(event)) return true;
		return false;
	};
}
