/** What no single key of routes and balancing can tell. */
import type { Report } from "./cross-checks.ts";
import { checkKnownUpstream, checkMethods, checkRateLimits, checkRespond, checkRetry } from "./cross-checks-resilience.ts";
import { DEFAULTS } from "./defaults.ts";
import { durationMs, list, type Mapping, mapping, numeric, text } from "./plain.ts";
import { type Path, type Plain, UNSET } from "./tree.ts";

const ACTIONS = ["to", "split", "redirect", "respond"];
const FORWARD_ONLY = ["mirror", "rewrite", "headers", "timeout", "retry", "rateLimits"];

export function checkRoutes(routes: readonly Plain[], upstreams: Mapping, report: Report): void {
	const seen = new Set<string>();
	routes.forEach((item, i) => {
		const route = mapping(item) ?? {};
		const path = ["outbound", "routes", i];
		const { name } = route;
		if (typeof name === "string" && name !== UNSET) {
			if (seen.has(name)) report([...path, "name"], "value", `a route named \`${name}\` stands above already`, "names of routes are unique");
			seen.add(name);
		}
		checkMethods(mapping(route.match), [...path, "match"], report);
		checkAction(route, path, upstreams, report);
		checkChanges(mapping(route.headers), [...path, "headers"], report);
		checkRetry(mapping(route.retry), durationMs(mapping(route.timeout)?.request), [...path, "retry"], report);
		checkRateLimits(list(route.rateLimits), [...path, "rateLimits"], report);
	});
}

function checkAction(route: Mapping, path: Path, upstreams: Mapping, report: Report): void {
	const given = ACTIONS.filter((key) => route[key] !== undefined);
	const [first] = given;
	if (first === undefined) report(path, "value", "the route leads nowhere", "give one of `to`, `split`, `redirect` and `respond`");
	for (const extra of given.slice(1)) {
		report([...path, extra], "key", `\`${first}\` and \`${extra}\` are both given`, "keep one of `to`, `split`, `redirect` and `respond`");
	}
	checkKnownUpstream(route.to, upstreams, [...path, "to"], report);
	checkKnownUpstream(mapping(route.mirror)?.to, upstreams, [...path, "mirror", "to"], report);
	checkSplit(list(route.split), [...path, "split"], upstreams, report);
	if (route.sticky !== undefined && route.split === undefined) {
		report([...path, "sticky"], "key", "`sticky` does not act without `split`", "remove it; endpoints of one upstream are chosen by `hashOn`");
	}
	if (first === "redirect" || first === "respond") {
		for (const key of FORWARD_ONLY) {
			if (route[key] !== undefined) report([...path, key], "key", `\`${key}\` does not act with \`${first}\``, "nothing is sent on: remove it");
		}
	}
	checkElsewhere(mapping(route.redirect), ["scheme", "host", "path"], [...path, "redirect"], "leads back to where it came from", report);
	checkElsewhere(mapping(route.rewrite), ["host", "path"], [...path, "rewrite"], "changes nothing", report);
	checkRespond(mapping(route.respond), [...path, "respond"], report);
}

function checkElsewhere(given: Mapping | undefined, keys: readonly string[], path: Path, what: string, report: Report): void {
	if (given === undefined || keys.some((key) => given[key] !== undefined)) return;
	const names = keys.map((key) => `\`${key}\``).join(", ");
	report(path, "key", `\`${path.at(-1)}\` ${what}`, `give at least one of ${names}`);
}

function checkSplit(split: readonly Plain[], path: Path, upstreams: Mapping, report: Report): void {
	const seen = new Set<string>();
	split.forEach((item, i) => {
		const to = text(mapping(item)?.to);
		if (to === undefined) return;
		const at = [...path, i, "to"];
		checkKnownUpstream(to, upstreams, at, report);
		if (seen.has(to)) report(at, "value", `\`${to}\` stands here twice`, "give it a larger `weight` instead");
		seen.add(to);
	});
	if (split.length !== 0 && split.every((item) => numeric(mapping(item)?.weight) === 0)) {
		report(path, "value", "all weights are 0", "give at least one of them a share");
	}
}

function checkChanges(headers: Mapping | undefined, path: Path, report: Report): void {
	for (const side of ["request", "response"]) {
		const changes = mapping(headers?.[side]) ?? {};
		const set = new Set(Object.keys(mapping(changes.set) ?? {}).map((name) => name.toLowerCase()));
		list(changes.remove).forEach((item, i) => {
			const name = text(item)?.toLowerCase();
			if (name === undefined || !set.has(name)) return;
			report([...path, side, "remove", i], "value", `\`${name}\` is set and removed`, "`set` replaces what is there: remove it here");
		});
	}
}

/** Keys of one kind of balancing. */
const ACTS_WITH: Readonly<Record<string, readonly string[]>> = {
	hashOn: ["ring-hash", "maglev"],
	ringSize: ["ring-hash"],
	tableSize: ["maglev"],
	failurePenalty: ["peak-ewma"],
};

export function checkBalancing(upstream: Mapping, zone: Plain | undefined, path: Path, report: Report): void {
	const kind = upstream.loadBalancing ?? DEFAULTS.loadBalancing;
	for (const [key, kinds] of Object.entries(ACTS_WITH)) {
		if (upstream[key] === undefined || kinds.includes(String(kind))) continue;
		report(
			[...path, key],
			"key",
			`\`${key}\` does not act with \`loadBalancing: ${text(kind) ?? "..."}\``,
			`remove it, or use ${kinds.join(" or ")}`,
		);
	}
	const size = numeric(upstream.tableSize);
	if (size !== undefined && Number.isInteger(size) && size >= 2 && size <= 5_000_011 && !isPrime(size)) {
		let prime = size + 1;
		while (!isPrime(prime)) prime++;
		report([...path, "tableSize"], "value", `\`${size}\` is not a prime`, `the next one is ${prime}`);
	}
	if ((upstream.zoneAware === true || upstream.zoneAware === "true") && zone === undefined) {
		report([...path, "zoneAware"], "key", "`zoneAware` does not act without a zone", "add `zone: NAME` at the top: where this sidecar runs");
	}
}

/** At most 2,237 divisions. */
function isPrime(n: number): boolean {
	for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
	return n > 1;
}
