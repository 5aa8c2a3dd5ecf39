/** Values of the configuration of Nexus as a schema takes them: text that is parsed, and bounds that are told. */
import { z } from "zod";
import { isRefusal, type Refusal, refuse } from "../../policy/fault.ts";

const UNITS: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };

/** `4GiB` -> bytes. */
export function parseSize(given: string): number | Refusal {
	const parts = /^(\d{1,6}(?:\.\d{1,3})?)(KiB|MiB|GiB|TiB)$/.exec(given);
	if (parts === null) return refuse("is not a size", "write a number and its unit: 512MiB, 4GiB");
	return Math.round(Number(parts[1]) * (UNITS[parts[2] ?? ""] ?? 0));
}

/** Text that `parse` takes; what it refuses is told with its hint. */
export function text<T extends NonNullable<unknown>>(parse: (text: string) => T | Refusal) {
	return z.string().transform((given, context): T => {
		const value = parse(given);
		if (!isRefusal(value)) return value;
		context.issues.push({ code: "custom", message: `${value.refused}\n${value.hint}`, input: given });
		return z.NEVER;
	});
}

/** As `text`, for what may hold a secret: a refusal names the key, and does not show the value. */
export function secretText<T extends NonNullable<unknown>>(parse: (text: string) => T | Refusal) {
	return z.string().transform((given, context): T => {
		const value = parse(given);
		if (!isRefusal(value)) return value;
		context.issues.push({ code: "custom", message: `${value.refused}\n${value.hint}`, input: given, params: { key: true } });
		return z.NEVER;
	});
}

/** As `text`, for numbers from `min` to `max`, which `range` says in words. */
export function within(parse: (text: string) => number | Refusal, min: number, max: number, range: string) {
	return text((given) => {
		const value = parse(given);
		return typeof value === "number" && (value < min || value > max) ? { refused: "is out of range", hint: range } : value;
	});
}
