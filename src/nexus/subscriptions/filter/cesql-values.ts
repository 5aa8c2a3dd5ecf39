/** The types of CESQL: zero values, and casts between them (sections 3.1 and 3.7). */
import type { CesqlType, CesqlValue } from "./cesql-syntax.ts";

export const INTEGER_MAX = 2147483647;
export const INTEGER_MIN = -2147483648;

export function zeroOf(type: CesqlType): CesqlValue {
	return type === "string" ? "" : type === "integer" ? 0 : false;
}

export function typeOf(value: CesqlValue): CesqlType {
	return typeof value === "string" ? "string" : typeof value === "number" ? "integer" : "boolean";
}

export function toText(value: CesqlValue): string {
	return typeof value === "string" ? value : String(value);
}

/** NaN where it is none: an error, and 0. */
export function toInteger(value: CesqlValue): number {
	switch (typeof value) {
		case "number":
			return value;
		case "boolean":
			return value ? 1 : 0;
		default:
			return /^[+-]?[0-9]+$/.test(value) ? within(Number(value)) : Number.NaN;
	}
}

/** Undefined where it is neither: an error, and false. */
export function toBoolean(value: CesqlValue): boolean | undefined {
	switch (typeof value) {
		case "boolean":
			return value;
		case "number":
			return value !== 0;
		default: {
			const lower = value.toLowerCase();
			return lower === "true" ? true : lower === "false" ? false : undefined;
		}
	}
}

/** NaN beyond 32 bits; never -0. */
export function within(integer: number): number {
	return integer > INTEGER_MAX || integer < INTEGER_MIN ? Number.NaN : integer + 0;
}
