/**
 * Turns the tree of a CESQL expression into closures, one per node. Errors are made here, once: evaluation only collects them. An operator whose
 * operand failed has failed itself, and whoever asks for its value gets the zero value of its type (sections 3.2 to 3.4, and the public test kit).
 */
import { attributeReader } from "./attributes.ts";
import {
	asInteger,
	asText,
	asTruth,
	castError,
	checked,
	type Evaluator,
	errorOf,
	type Integer,
	isEqual,
	type Text,
	type Truth,
} from "./cesql-casts.ts";
import { staticType, unknownFunction } from "./cesql-check.ts";
import { type CesqlFunction, findFunction } from "./cesql-functions.ts";
import { compileLike } from "./cesql-like.ts";
import type { CesqlNode, CesqlType, CesqlValue, ComparisonOperator, MathOperator } from "./cesql-syntax.ts";

const BEYOND = "the result is beyond 32 bits";

type Node<Kind extends CesqlNode["kind"]> = Extract<CesqlNode, { kind: Kind }>;

export function compileNode(node: CesqlNode): Evaluator {
	switch (node.kind) {
		case "literal": {
			const { value } = node;
			return () => value;
		}
		case "attribute":
			return compileAttribute(node);
		case "exists": {
			const read = attributeReader(node.name);
			return (event) => read(event) !== undefined;
		}
		case "not": {
			const operand = truthOf(node.operand);
			return (event, errors) => {
				const value = operand(event, errors);
				return value === undefined ? undefined : !value;
			};
		}
		case "minus":
			return compileMinus(node);
		case "logic":
			return compileLogic(node);
		case "comparison":
			return node.operator === "=" || node.operator === "!=" ? compileEquality(node) : compileOrder(node);
		case "math":
			return compileMath(node);
		case "like": {
			const operand = textOf(node.operand);
			const matches = compileLike(node.pattern);
			const { negated } = node;
			return (event, errors) => {
				const text = operand(event, errors);
				return text === undefined ? undefined : matches(text) !== negated;
			};
		}
		case "in":
			return compileIn(node);
		case "call":
			return compileCall(node);
	}
}

function compileAttribute({ name, at }: Node<"attribute">): Evaluator {
	const read = attributeReader(name);
	const error = errorOf("missingAttribute", at, `the event has no attribute ${name}`);
	return (event, errors) => {
		const value = read(event);
		if (value === undefined) errors.push(error);
		return value;
	};
}

function compileMinus({ operand, at }: Node<"minus">): Evaluator {
	const evaluate = integerOf(operand);
	const error = errorOf("math", at, BEYOND);
	return (event, errors) => {
		const value = evaluate(event, errors);
		return value === undefined ? undefined : checked(-value, errors, error);
	};
}

/** AND and OR stop at the left where that decides. */
function compileLogic(node: Node<"logic">): Evaluator {
	const left = truthOf(node.left);
	const right = truthOf(node.right);
	switch (node.operator) {
		case "AND":
			return (event, errors) => {
				const first = left(event, errors);
				return first === true ? right(event, errors) : first;
			};
		case "OR":
			return (event, errors) => {
				const first = left(event, errors);
				if (first === true) return true;
				const second = right(event, errors);
				return first === undefined ? undefined : second;
			};
		case "XOR":
			return (event, errors) => {
				const first = left(event, errors);
				const second = right(event, errors);
				return first === undefined || second === undefined ? undefined : first !== second;
			};
	}
}

/** The right side decides what both are compared as (section 3.7). */
function compileEquality(node: Node<"comparison">): Evaluator {
	const negated = node.operator === "!=";
	const type = staticType(node.right);
	if (type === undefined) {
		const left = compileNode(node.left);
		const right = compileNode(node.right);
		const error = castError(node.left);
		return (event, errors) => {
			const x = left(event, errors);
			const y = right(event, errors);
			const equal = x === undefined || y === undefined ? undefined : isEqual(x, y, errors, error);
			return equal === undefined ? undefined : equal !== negated;
		};
	}
	const left = castOf(node.left, type);
	if (node.right.kind === "literal") {
		const y = node.right.value;
		return (event, errors) => {
			const x = left(event, errors);
			return x === undefined ? undefined : (x === y) !== negated;
		};
	}
	const right = compileNode(node.right);
	return (event, errors) => {
		const x = left(event, errors);
		const y = right(event, errors);
		return x === undefined || y === undefined ? undefined : (x === y) !== negated;
	};
}

function compileOrder(node: Node<"comparison">): Evaluator {
	const left = integerOf(node.left);
	const right = integerOf(node.right);
	const holds = order(node.operator);
	return (event, errors) => {
		const x = left(event, errors);
		const y = right(event, errors);
		return x === undefined || y === undefined ? undefined : holds(x, y);
	};
}

function order(operator: ComparisonOperator): (x: number, y: number) => boolean {
	switch (operator) {
		case "<":
			return (x, y) => x < y;
		case "<=":
			return (x, y) => x <= y;
		case ">":
			return (x, y) => x > y;
		default:
			return (x, y) => x >= y;
	}
}

function compileMath(node: Node<"math">): Evaluator {
	const left = integerOf(node.left);
	const right = integerOf(node.right);
	const compute = arithmetic(node.operator);
	const divides = node.operator === "/" || node.operator === "%";
	const overflow = errorOf("math", node.at, BEYOND);
	const byZero = errorOf("math", node.at, "a division by zero");
	return (event, errors) => {
		const x = left(event, errors);
		const y = right(event, errors);
		if (x === undefined || y === undefined) return undefined;
		if (divides && y === 0) {
			errors.push(byZero);
			return undefined;
		}
		return checked(compute(x, y), errors, overflow);
	};
}

function arithmetic(operator: MathOperator): (x: number, y: number) => number {
	switch (operator) {
		case "+":
			return (x, y) => x + y;
		case "-":
			return (x, y) => x - y;
		case "*":
			// Beyond 2^53 it is inexact, and far beyond 32 bits all the same.
			return (x, y) => x * y;
		case "/":
			return (x, y) => Math.trunc(x / y);
		case "%":
			return (x, y) => x % y;
	}
}

/** The left side decides, element by element, up to the first that is equal. */
function compileIn(node: Node<"in">): Evaluator {
	const operand = compileNode(node.operand);
	const { negated } = node;
	const texts = node.set.map((element) => (element.kind === "literal" && typeof element.value === "string" ? element.value : undefined));
	const elements = node.set.map((element) => ({ evaluate: compileNode(element), error: castError(element) }));
	const isSlow = texts.includes(undefined);
	const set = new Set(texts);
	return (event, errors) => {
		const x = operand(event, errors);
		if (x === undefined) return undefined;
		if (!isSlow && typeof x === "string") return set.has(x) !== negated;
		for (const { evaluate, error } of elements) {
			const y = evaluate(event, errors);
			const equal = y === undefined ? undefined : isEqual(y, x, errors, error);
			if (equal === undefined) return undefined;
			if (equal) return !negated;
		}
		return negated;
	};
}

function compileCall(node: Node<"call">): Evaluator {
	const found = findFunction(node.name, node.args.length);
	if (found === undefined) {
		const error = unknownFunction(node);
		return (_event, errors) => {
			errors.push(error);
			return undefined;
		};
	}
	const args = node.args.map((arg, i) => castOf(arg, parameterType(found, i)));
	return (event, errors) => {
		const values: CesqlValue[] = [];
		for (const arg of args) {
			const value = arg(event, errors);
			if (value === undefined) return undefined;
			values.push(value);
		}
		const result = found.apply(values);
		if (typeof result !== "object") return result;
		errors.push(errorOf(result.kind, node.at, `${node.name} ${result.message}`));
		return result.value;
	};
}

function parameterType({ parameters, rest }: CesqlFunction, i: number): CesqlType | "any" {
	return parameters[i] ?? rest ?? "any";
}

function castOf(node: CesqlNode, type: CesqlType | "any"): Evaluator {
	switch (type) {
		case "string":
			return textOf(node);
		case "integer":
			return integerOf(node);
		case "boolean":
			return truthOf(node);
		case "any":
			return compileNode(node);
	}
}

function textOf(node: CesqlNode): Text {
	return asText(compileNode(node));
}

function integerOf(node: CesqlNode): Integer {
	return asInteger(compileNode(node), castError(node));
}

function truthOf(node: CesqlNode): Truth {
	return asTruth(compileNode(node), castError(node));
}
