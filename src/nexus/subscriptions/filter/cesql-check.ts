/** What is known of an expression before any event: types of its parts, and calls that lead nowhere. */
import { errorOf } from "./cesql-casts.ts";
import { findFunction } from "./cesql-functions.ts";
import type { CesqlError, CesqlNode, CesqlType } from "./cesql-syntax.ts";
import { typeOf } from "./cesql-values.ts";

type Call = Extract<CesqlNode, { kind: "call" }>;

/** Undefined for attributes: what they hold is known with the event. */
export function staticType(node: CesqlNode): CesqlType | undefined {
	switch (node.kind) {
		case "literal":
			return typeOf(node.value);
		case "attribute":
			return undefined;
		case "minus":
		case "math":
			return "integer";
		case "call":
			return findFunction(node.name, node.args.length)?.returns ?? "boolean";
		default:
			return "boolean";
	}
}

/** Names and numbers of arguments that no function has, in the order of the expression. */
export function unknownFunctions(node: CesqlNode): CesqlError[] {
	switch (node.kind) {
		case "not":
		case "minus":
		case "like":
			return unknownFunctions(node.operand);
		case "logic":
		case "comparison":
		case "math":
			return [...unknownFunctions(node.left), ...unknownFunctions(node.right)];
		case "in":
			return [node.operand, ...node.set].flatMap(unknownFunctions);
		case "call":
			return [...(findFunction(node.name, node.args.length) === undefined ? [unknownFunction(node)] : []), ...node.args.flatMap(unknownFunctions)];
		default:
			return [];
	}
}

export function unknownFunction({ name, args, at }: Call): CesqlError {
	return errorOf(
		"missingFunction",
		at,
		`there is no function ${name.slice(0, 64)} of ${args.length} ${args.length === 1 ? "argument" : "arguments"}`,
	);
}
