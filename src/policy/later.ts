/** Keys and values of the design that this version does not act on yet: accepting them silently would promise what does not happen. */

const UPSTREAM = "upstreams.*";
const ROUTE = "outbound.routes.*";

// The place of a key: names and list positions stand as `*`.
const KEYS: ReadonlySet<string> = new Set([
	"identity",
	"tracing",
	"inbound.tls",
	"inbound.authorization",
	"inbound.rateLimits",
	"inbound.circuitBreaker",
	"nexus.spool.dir",
	"nexus.spool.maxBytes",
	`${ROUTE}.split`,
	`${ROUTE}.mirror`,
	`${UPSTREAM}.registry`,
	`${UPSTREAM}.tls`,
	`${UPSTREAM}.outlierDetection`,
	`${UPSTREAM}.circuitBreaker`,
	`${UPSTREAM}.retry`,
	`${UPSTREAM}.rateLimits`,
	`${UPSTREAM}.fault`,
	`${UPSTREAM}.timeout.perTryTimeout`,
]);

const VALUES: Readonly<Record<string, readonly string[]>> = {
	[`${UPSTREAM}.protocol`]: ["http2", "tcp"],
	[`${UPSTREAM}.loadBalancing`]: ["peak-ewma", "ring-hash"],
};

export function isLaterKey(place: string): boolean {
	return KEYS.has(place);
}

export function isLaterValue(place: string, value: unknown): boolean {
	return typeof value === "string" && VALUES[place]?.includes(value) === true;
}
