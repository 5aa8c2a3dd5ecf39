/** The built-in functions of CESQL (section 3.5). Characters are those of Unicode, not halves of a pair. */
import type { CesqlErrorKind, CesqlType, CesqlValue } from "./cesql-syntax.ts";
import { INTEGER_MAX, INTEGER_MIN, toBoolean, toInteger } from "./cesql-values.ts";
import { RESULT_CHARS_MAX } from "./limits.ts";

/** A value that comes with an error. */
export interface Flawed {
	readonly value: CesqlValue;
	readonly kind: CesqlErrorKind;
	readonly message: string;
}

export interface CesqlFunction {
	/** Types of the arguments; `any` is not cast. */
	readonly parameters: readonly (CesqlType | "any")[];
	/** Type of any number of further arguments. */
	readonly rest?: CesqlType;
	readonly returns: CesqlType;
	/** `args` are as many as asked for, and cast. */
	readonly apply: (args: readonly CesqlValue[]) => CesqlValue | Flawed;
}

// Unicode's White_Space, which is not quite what String.trim takes away. A regular expression would be quadratic on spaces in the middle.
const WHITE_SPACE = /^\p{White_Space}$/u;
const PAIRS = /[\ud800-\udfff]/;

/** By name in capitals; overloads stand in one list. */
export const CESQL_FUNCTIONS: ReadonlyMap<string, readonly CesqlFunction[]> = new Map(
	Object.entries({
		LENGTH: [of(["string"], "integer", ([text]) => lengthOf(text as string))],
		CONCAT: [of([], "string", (texts) => joined(texts as readonly string[], ""), "string")],
		CONCAT_WS: [of(["string"], "string", ([delimiter, ...texts]) => joined(texts as string[], delimiter as string), "string")],
		LOWER: [of(["string"], "string", ([text]) => bounded((text as string).toLowerCase()))],
		UPPER: [of(["string"], "string", ([text]) => bounded((text as string).toUpperCase()))],
		TRIM: [of(["string"], "string", ([text]) => trim(text as string))],
		LEFT: [of(["string", "integer"], "string", ([text, count]) => side(text as string, count as number, "left"))],
		RIGHT: [of(["string", "integer"], "string", ([text, count]) => side(text as string, count as number, "right"))],
		SUBSTRING: [
			of(["string", "integer"], "string", ([text, position]) => substring(text as string, position as number, Number.POSITIVE_INFINITY)),
			of(["string", "integer", "integer"], "string", ([text, position, length]) => substring(text as string, position as number, length as number)),
		],
		ABS: [of(["integer"], "integer", ([value]) => absolute(value as number))],
		INT: [of(["any"], "integer", ([value]) => castToInteger(value as CesqlValue))],
		BOOL: [of(["any"], "boolean", ([value]) => castToBoolean(value as CesqlValue))],
		STRING: [of(["any"], "string", ([value]) => String(value))],
		IS_INT: [of(["any"], "boolean", ([value]) => !Number.isNaN(toInteger(value as CesqlValue)))],
		IS_BOOL: [of(["any"], "boolean", ([value]) => toBoolean(value as CesqlValue) !== undefined)],
	}),
);

/** The function that a call of `count` arguments reaches. */
export function findFunction(name: string, count: number): CesqlFunction | undefined {
	return CESQL_FUNCTIONS.get(name)?.find(({ parameters, rest }) => (rest === undefined ? count === parameters.length : count >= parameters.length));
}

function of(parameters: CesqlFunction["parameters"], returns: CesqlType, apply: CesqlFunction["apply"], rest?: CesqlType): CesqlFunction {
	return { parameters, returns, apply, ...(rest === undefined ? {} : { rest }) };
}

function joined(texts: readonly string[], delimiter: string): CesqlValue | Flawed {
	return bounded(texts.join(delimiter));
}

function bounded(text: string): CesqlValue | Flawed {
	return text.length <= RESULT_CHARS_MAX ? text : failed("", `makes more than ${RESULT_CHARS_MAX} characters`);
}

function lengthOf(text: string): number {
	return PAIRS.test(text) ? [...text].length : text.length;
}

function trim(text: string): string {
	let start = 0;
	let end = text.length;
	while (start < end && WHITE_SPACE.test(text.charAt(start))) start++;
	while (end > start && WHITE_SPACE.test(text.charAt(end - 1))) end--;
	return text.slice(start, end);
}

function side(text: string, count: number, which: "left" | "right"): CesqlValue | Flawed {
	if (count < 0) return failed(text, "wants a count of 0 or more");
	const length = lengthOf(text);
	if (length <= count) return text;
	return which === "left" ? cut(text, 0, count) : cut(text, length - count, length);
}

function substring(text: string, position: number, count: number): CesqlValue | Flawed {
	const length = lengthOf(text);
	if (position > length || position < -length) return failed("", "wants a position within the text");
	if (count < 0) return failed("", "wants a length of 0 or more");
	if (position === 0) return "";
	const start = position > 0 ? position - 1 : length + position;
	return cut(text, start, Math.min(length, start + count));
}

function cut(text: string, start: number, end: number): string {
	return PAIRS.test(text) ? [...text].slice(start, end).join("") : text.slice(start, end);
}

function absolute(value: number): CesqlValue | Flawed {
	if (value === INTEGER_MIN) return { value: INTEGER_MAX, kind: "math", message: "is beyond 32 bits" };
	return Math.abs(value);
}

function castToInteger(value: CesqlValue): CesqlValue | Flawed {
	const integer = toInteger(value);
	return Number.isNaN(integer) ? { value: 0, kind: "cast", message: "is given text that is no integer of 32 bits" } : integer;
}

function castToBoolean(value: CesqlValue): CesqlValue | Flawed {
	return toBoolean(value) ?? { value: false, kind: "cast", message: "is given text that is neither true nor false" };
}

function failed(value: CesqlValue, message: string): Flawed {
	return { value, kind: "functionEvaluation", message };
}
