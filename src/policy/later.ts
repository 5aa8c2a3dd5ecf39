/** Keys and values of the design that this version does not act on yet: accepting them silently would promise what does not happen. */

const UPSTREAM = "upstreams.*";

// The place of a key: names and list positions stand as `*`.
const KEYS: ReadonlySet<string> = new Set();

const VALUES: Readonly<Record<string, readonly string[]>> = {
	[`${UPSTREAM}.protocol`]: ["http2", "tcp"],
};

export function isLaterKey(place: string): boolean {
	return KEYS.has(place);
}

export function isLaterValue(place: string, value: unknown): boolean {
	return typeof value === "string" && VALUES[place]?.includes(value) === true;
}
