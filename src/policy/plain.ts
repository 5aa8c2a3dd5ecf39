/** Looking into plain values of which nothing is known yet. */
import { type Plain, UNSET } from "./tree.ts";
import { parseDuration } from "./values.ts";

export type Mapping = { readonly [key: string]: Plain };

export function mapping(value: Plain | undefined): Mapping | undefined {
	return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Mapping) : undefined;
}

export function list(value: Plain | undefined): readonly Plain[] {
	return Array.isArray(value) ? value : [];
}

/** Undefined also for a value that could not be had. */
export function text(value: Plain | undefined): string | undefined {
	return typeof value === "string" && value !== UNSET ? value : undefined;
}

/** One text, or those of a list. */
export function texts(value: Plain | undefined): readonly string[] {
	return (Array.isArray(value) ? value : [value]).map(text).filter((item) => item !== undefined);
}

/** Milliseconds; undefined for what is no duration, which is told elsewhere. */
export function durationMs(value: Plain | undefined): number | undefined {
	const ms = typeof value === "string" ? parseDuration(value) : undefined;
	return typeof ms === "number" ? ms : undefined;
}

/** Also written as text, as the environment gives it. */
export function numeric(value: Plain | undefined): number | undefined {
	const number = typeof value === "string" && /^\d{1,12}(\.\d{1,12})?$/.test(value) ? Number(value) : value;
	return typeof number === "number" ? number : undefined;
}
