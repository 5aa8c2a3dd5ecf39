/** CESQL, the CloudEvents SQL Expression Language 1.0.0: text in, an expression to be evaluated on events out. */
import type { CloudEvent } from "../../../events/cloud-event.ts";
import { staticType, unknownFunctions } from "./cesql-check.ts";
import { compileNode } from "./cesql-compile.ts";
import { parseCesql } from "./cesql-parser.ts";
import type { CesqlError, CesqlNode, CesqlValue } from "./cesql-syntax.ts";
import { zeroOf } from "./cesql-values.ts";

export interface CesqlExpression {
	readonly node: CesqlNode;
	/** What makes it answer with errors wherever it is reached: calls of functions that are not there. */
	readonly warnings: readonly CesqlError[];
	/** Value and all errors; the whole is evaluated ("complete evaluation mode", section 4.1). */
	evaluate(event: CloudEvent): { readonly value: CesqlValue; readonly errors: readonly CesqlError[] };
	/** As a filter: the value is true, and there were no errors (Subscriptions API, dialect `sql`). */
	matches(event: CloudEvent): boolean;
}

export type CompiledCesql = { readonly ok: true; readonly expression: CesqlExpression } | { readonly ok: false; readonly error: CesqlError };

/** Never throws; what is wrong is told with its place. */
export function compileCesql(text: string): CompiledCesql {
	const parsed = parseCesql(text);
	if (!parsed.ok) return parsed;
	const { node } = parsed;
	const evaluator = compileNode(node);
	// An attribute alone has no type that could be known: section 3.2 takes it as Boolean.
	const zero = zeroOf(staticType(node) ?? "boolean");
	// One list for all evaluations: nothing in an expression calls back, so no two are under way at once.
	const errors: CesqlError[] = [];
	const expression: CesqlExpression = {
		node,
		warnings: unknownFunctions(node),
		evaluate(event) {
			const found: CesqlError[] = [];
			return { value: evaluator(event, found) ?? zero, errors: found };
		},
		matches(event) {
			errors.length = 0;
			return evaluator(event, errors) === true && errors.length === 0;
		},
	};
	return { ok: true, expression };
}

/** `character 12: message`, counted from 1. */
export function errorText({ at, message }: CesqlError): string {
	return `character ${at + 1}: ${message}`;
}
