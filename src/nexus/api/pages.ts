/** Lists in pages, alike everywhere: at most `limit` entries behind `after`, and `next`, which is `after` of the page behind. */
import { z } from "@hono/zod-openapi";

const LIMIT = 100;
/** An answer of a megabyte or so, where entries are names and figures. */
const LIMIT_MAX = 1_000;
/** Longer than every name that stands in a list. */
const PLACE_CHARS_MAX = 1_024;

export const limitQuery = (what: string) =>
	z
		.string()
		.regex(/^\d{1,4}$/, "is not a whole number")
		.refine((value) => Number(value) >= 1 && Number(value) <= LIMIT_MAX, `is not from 1 to ${LIMIT_MAX}`)
		.default(String(LIMIT))
		.openapi({ description: `${what} in the answer.`, type: "integer", minimum: 1, maximum: LIMIT_MAX, default: LIMIT });

export const AFTER = { description: "`next` of the page before: what comes behind it, also where that entry is gone." };
export const NEXT = { description: "`after` of the next page; null where nothing more is there." };

/** Of a list by names. */
export const pageQuery = (what: string) =>
	z.strictObject({ after: z.string().min(1).max(PLACE_CHARS_MAX).optional().openapi(AFTER), limit: limitQuery(what) });
export const nextPlace = z.string().nullable().openapi(NEXT);

/** `all` in the order of their names, which are different. */
export function pageOf<T>(
	all: readonly T[],
	nameOf: (one: T) => string,
	{ after = "", limit }: { readonly after?: string | undefined; readonly limit: string },
): { readonly page: readonly T[]; readonly next: string | null } {
	const start = after === "" ? 0 : all.findIndex((one) => nameOf(one) > after);
	if (start < 0) return { page: [], next: null };
	const end = start + Number(limit);
	const last = all[end - 1];
	return { page: all.slice(start, end), next: last === undefined || end >= all.length ? null : nameOf(last) };
}

export function byName<T>(nameOf: (one: T) => string): (a: T, b: T) => number {
	return (a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0);
}
