/** What an event must have, at the least, to pass a filter: by this the index finds the filter, and all others never see the event. */
import { likeHead } from "./cesql-like.ts";
import type { CesqlNode } from "./cesql-syntax.ts";
import type { Condition } from "./condition.ts";

/** An attribute, in its canonical text, is the value or begins with it. */
export interface Key {
	readonly kind: "exact" | "prefix";
	readonly attribute: string;
	readonly value: string;
}

/** `all`: each of them is necessary, so any one will do. `any`: one of them holds, so all must be looked under. */
export type Need = Key | { readonly kind: "all" | "any"; readonly of: readonly Need[] };

// Attributes that never hold anything but text, so that CESQL's casts cannot make two different texts equal.
const ALWAYS_TEXT = new Set(["id", "source", "type", "subject"]);
const PRIORITY_MAX = 9;

/** Undefined where nothing can be said: such a filter sees every event. */
export function needOf(condition: Condition): Need | undefined {
	switch (condition.kind) {
		case "equals":
			return oneOf(condition.values.map((value) => exact(condition.attribute, value)));
		case "prefix":
			return prefix(condition.attribute, condition.value);
		case "pattern": {
			const star = condition.pattern.indexOf("*");
			return star < 0 ? exact(condition.attribute, condition.pattern) : prefix(condition.attribute, condition.pattern.slice(0, star));
		}
		case "priority": {
			if (condition.least === 0) return undefined;
			const values = Array.from({ length: PRIORITY_MAX + 1 - condition.least }, (_, i) => String(condition.least + i));
			return oneOf(values.map((value) => exact("priority", value)));
		}
		case "all":
			return allOf(condition.of.map(needOf));
		case "any":
			return oneOf(condition.of.map(needOf));
		case "sql":
			return needOfCesql(condition.expression.node);
		default:
			return undefined;
	}
}

/** An expression passes only where it is true without an error, so each side of an AND must be true, and one side of an OR. */
function needOfCesql(node: CesqlNode): Need | undefined {
	switch (node.kind) {
		case "logic":
			if (node.operator === "AND") return allOf([needOfCesql(node.left), needOfCesql(node.right)]);
			return node.operator === "OR" ? oneOf([needOfCesql(node.left), needOfCesql(node.right)]) : undefined;
		case "comparison": {
			const { left, right, operator } = node;
			if (operator !== "=") return undefined;
			// Text on the right makes text of the left.
			if (left.kind === "attribute" && right.kind === "literal" && typeof right.value === "string") return exact(left.name, right.value);
			if (right.kind === "attribute" && ALWAYS_TEXT.has(right.name) && left.kind === "literal") return exact(right.name, String(left.value));
			return undefined;
		}
		case "like": {
			if (node.negated || node.operand.kind !== "attribute") return undefined;
			const head = likeHead(node.pattern);
			return head.exact ? exact(node.operand.name, head.prefix) : prefix(node.operand.name, head.prefix);
		}
		case "in": {
			const { operand, negated, set } = node;
			if (negated || operand.kind !== "attribute" || !ALWAYS_TEXT.has(operand.name)) return undefined;
			return oneOf(set.map((element) => (element.kind === "literal" ? exact(operand.name, String(element.value)) : undefined)));
		}
		default:
			return undefined;
	}
}

function exact(attribute: string, value: string): Key {
	return { kind: "exact", attribute, value };
}

function prefix(attribute: string, value: string): Key | undefined {
	return value === "" ? undefined : { kind: "prefix", attribute, value };
}

function allOf(needs: readonly (Need | undefined)[]): Need | undefined {
	const known = needs.filter((need) => need !== undefined);
	return known.length <= 1 ? known[0] : { kind: "all", of: known };
}

function oneOf(needs: readonly (Need | undefined)[]): Need | undefined {
	const known = needs.filter((need) => need !== undefined);
	if (known.length < needs.length) return undefined;
	return known.length <= 1 ? known[0] : { kind: "any", of: known };
}
