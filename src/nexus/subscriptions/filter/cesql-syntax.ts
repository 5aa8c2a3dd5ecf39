/** The words of CESQL (CloudEvents SQL Expression Language 1.0.0): tokens, and the tree that a parser makes of them. */

export type CesqlValue = string | number | boolean;
export type CesqlType = "string" | "integer" | "boolean";

export type LogicOperator = "AND" | "OR" | "XOR";
export type ComparisonOperator = "=" | "!=" | "<" | "<=" | ">" | ">=";
export type MathOperator = "+" | "-" | "*" | "/" | "%";

/** `at` is the offset of its first character; of an operator with two sides, that of the operator. */
export type CesqlNode =
	| { readonly kind: "literal"; readonly at: number; readonly value: CesqlValue }
	| { readonly kind: "attribute"; readonly at: number; readonly name: string }
	| { readonly kind: "exists"; readonly at: number; readonly name: string }
	| { readonly kind: "not"; readonly at: number; readonly operand: CesqlNode }
	| { readonly kind: "minus"; readonly at: number; readonly operand: CesqlNode }
	| { readonly kind: "logic"; readonly at: number; readonly operator: LogicOperator; readonly left: CesqlNode; readonly right: CesqlNode }
	| { readonly kind: "comparison"; readonly at: number; readonly operator: ComparisonOperator; readonly left: CesqlNode; readonly right: CesqlNode }
	| { readonly kind: "math"; readonly at: number; readonly operator: MathOperator; readonly left: CesqlNode; readonly right: CesqlNode }
	| { readonly kind: "like"; readonly at: number; readonly negated: boolean; readonly operand: CesqlNode; readonly pattern: string }
	| { readonly kind: "in"; readonly at: number; readonly negated: boolean; readonly operand: CesqlNode; readonly set: readonly CesqlNode[] }
	| { readonly kind: "call"; readonly at: number; readonly name: string; readonly args: readonly CesqlNode[] };

export type CesqlErrorKind = "parse" | "math" | "cast" | "missingAttribute" | "missingFunction" | "functionEvaluation";

export interface CesqlError {
	readonly kind: CesqlErrorKind;
	/** Offset in the expression, in UTF-16 units, from 0. */
	readonly at: number;
	readonly message: string;
}
