/** Evaluators whose values are cast to one type, with the error that is due where they cannot be. */
import type { CloudEvent } from "../../../events/cloud-event.ts";
import type { CesqlError, CesqlErrorKind, CesqlNode, CesqlValue } from "./cesql-syntax.ts";
import { toBoolean, toInteger, toText, within } from "./cesql-values.ts";

type Evaluates<Value> = (event: CloudEvent, errors: CesqlError[]) => Value | undefined;

/** Undefined: it failed, and why is in `errors`. */
export type Evaluator = Evaluates<CesqlValue>;
export type Text = Evaluates<string>;
export type Integer = Evaluates<number>;
export type Truth = Evaluates<boolean>;

export function asText(evaluate: Evaluator): Text {
	return (event, errors) => {
		const value = evaluate(event, errors);
		return value === undefined ? undefined : toText(value);
	};
}

export function asInteger(evaluate: Evaluator, error: CesqlError): Integer {
	return (event, errors) => {
		const value = evaluate(event, errors);
		return value === undefined ? undefined : checked(toInteger(value), errors, error);
	};
}

export function asTruth(evaluate: Evaluator, error: CesqlError): Truth {
	return (event, errors) => {
		const value = evaluate(event, errors);
		if (typeof value === "boolean" || value === undefined) return value;
		const truth = toBoolean(value);
		if (truth === undefined) errors.push(error);
		return truth;
	};
}

/** `x` is cast to the type of `y`; undefined where it cannot be. */
export function isEqual(x: CesqlValue, y: CesqlValue, errors: CesqlError[], error: CesqlError): boolean | undefined {
	switch (typeof y) {
		case "string":
			return toText(x) === y;
		case "number": {
			const integer = checked(toInteger(x), errors, error);
			return integer === undefined ? undefined : integer === y;
		}
		default: {
			const truth = toBoolean(x);
			if (truth === undefined) errors.push(error);
			return truth === undefined ? undefined : truth === y;
		}
	}
}

/** Undefined, and the error, beyond 32 bits. */
export function checked(integer: number, errors: CesqlError[], error: CesqlError): number | undefined {
	const value = within(integer);
	if (!Number.isNaN(value)) return value;
	errors.push(error);
	return undefined;
}

export function castError({ at }: CesqlNode): CesqlError {
	return errorOf("cast", at, "the value that begins here is not of the type that stands against it");
}

/** Made once, when an expression is compiled. */
export function errorOf(kind: CesqlErrorKind, at: number, message: string): CesqlError {
	return Object.freeze({ kind, at, message });
}
