/**
 * What no single key can tell: references, duplicates, combinations. Works on the plain values, not on the typed
 * configuration, so that these faults are told together with all others.
 */

import { DEFAULTS } from "./defaults.ts";
import { isRefusal } from "./fault.ts";
import { nearest } from "./nearest.ts";
import { type Path, type Plain, UNSET } from "./tree.ts";
import { parseDuration, parseName, parseTcpAddress } from "./values.ts";

/** `at: key` points at the key that leads to the path, `value` at what stands there. */
export type Report = (path: Path, at: "key" | "value", message: string, hint: string) => void;

type Mapping = { readonly [key: string]: Plain };

export function crossCheck(plain: Plain, report: Report): void {
	const policy = mapping(plain);
	if (policy === undefined) return;
	if (policy.inbound === undefined && policy.outbound === undefined) {
		report([], "value", "neither `inbound` nor `outbound` is given", "add `inbound:` for traffic to this service, `outbound:` for traffic from it");
	}
	const upstreams = mapping(policy.upstreams) ?? {};
	checkRoutes(list(mapping(policy.outbound)?.routes), upstreams, report);
	for (const [name, upstream] of Object.entries(upstreams)) checkUpstream(name, mapping(upstream) ?? {}, report);
	checkListeners(policy, upstreams, report);
}

function checkRoutes(routes: readonly Plain[], upstreams: Mapping, report: Report): void {
	const seen = new Set<string>();
	routes.forEach((item, i) => {
		const route = mapping(item) ?? {};
		const path = ["outbound", "routes", i];
		const { name, to } = route;
		if (typeof name === "string" && name !== UNSET) {
			if (seen.has(name)) report([...path, "name"], "value", `a route named \`${name}\` stands above already`, "names of routes are unique");
			seen.add(name);
		}
		if (typeof to === "string" && to !== UNSET && !Object.hasOwn(upstreams, to)) {
			const meant = nearest(to, Object.keys(upstreams));
			const hint = meant === undefined ? `add it under \`upstreams\`` : `did you mean \`${meant}\`?`;
			report([...path, "to"], "value", `there is no upstream named \`${to}\``, hint);
		}
		const match = mapping(route.match) ?? {};
		if (match.method !== undefined && match.methods !== undefined) {
			report([...path, "match", "method"], "key", "`method` and `methods` are both given", "keep one of them");
		}
	});
}

function checkUpstream(name: string, upstream: Mapping, report: Report): void {
	const path = ["upstreams", name];
	const valid = parseName(name);
	if (isRefusal(valid)) report(path, "key", `\`${name}\` ${valid.refused}`, valid.hint);
	const sources = ["endpoints", "dns", "file"].filter((key) => upstream[key] !== undefined);
	// `registry` is told to be no key yet; that it is the only source is no second fault.
	if (sources.length === 0 && upstream.registry === undefined) {
		report(path, "key", `upstream \`${name}\` has no endpoints`, "give one of `endpoints`, `dns` and `file`");
	}
	for (const extra of sources.slice(1)) {
		report([...path, extra], "key", `\`${sources[0]}\` and \`${extra}\` are both given`, "keep one of `endpoints`, `dns` and `file`");
	}
	checkEndpoints(list(upstream.endpoints), [...path, "endpoints"], report);
	checkDns(mapping(upstream.dns), [...path, "dns"], report);
	checkHealthCheck(mapping(upstream.healthCheck), [...path, "healthCheck"], report);
}

function checkEndpoints(endpoints: readonly Plain[], path: Path, report: Report): void {
	const seen = new Set<string>();
	endpoints.forEach((item, i) => {
		const address = mapping(item)?.address;
		if (typeof address !== "string" || address === UNSET) return;
		if (seen.has(address)) report([...path, i, "address"], "value", `\`${address}\` stands here twice`, "give it a larger `weight` instead");
		seen.add(address);
	});
}

function checkDns(dns: Mapping | undefined, path: Path, report: Report): void {
	if (dns === undefined) return;
	const srv = dns.type === "SRV";
	if (srv && dns.port !== undefined) report([...path, "port"], "key", "`port` does not act with SRV", "SRV records bring their own ports: remove it");
	if (!srv && dns.port === undefined) report(path, "key", "`port` is missing", "A and AAAA records carry no port: add `port:`, or use `type: SRV`");
}

function checkHealthCheck(check: Mapping | undefined, path: Path, report: Report): void {
	if (check === undefined) return;
	if (check.kind === "tcp") {
		for (const key of ["path", "host", "headers", "statuses"]) {
			if (check[key] !== undefined) report([...path, key], "key", `\`${key}\` does not act with \`kind: tcp\``, "remove it, or use `kind: http`");
		}
	}
	const timeoutMs = parseDuration(text(check.timeout) ?? DEFAULTS.healthCheck.timeout);
	const intervalMs = parseDuration(text(check.interval) ?? DEFAULTS.healthCheck.interval);
	if (typeof timeoutMs === "number" && typeof intervalMs === "number" && timeoutMs > intervalMs) {
		const key = check.timeout === undefined ? "interval" : "timeout";
		report(
			[...path, key],
			"value",
			"the timeout of the check is longer than its interval",
			"checks of one endpoint do not overlap: raise the interval",
		);
	}
}

interface Listener {
	readonly path: Path;
	readonly host: string;
	readonly port: number;
}

function checkListeners(policy: Mapping, upstreams: Mapping, report: Report): void {
	const listeners = [listener(["admin", "listen"], mapping(policy.admin)?.listen, DEFAULTS.adminListen)];
	const { inbound, outbound } = policy;
	if (inbound !== undefined) listeners.push(listener(["inbound", "listen"], mapping(inbound)?.listen, DEFAULTS.inboundListen));
	if (outbound !== undefined) listeners.push(listener(["outbound", "listen"], mapping(outbound)?.listen, DEFAULTS.outboundListen));
	for (const [name, upstream] of Object.entries(upstreams)) {
		listeners.push(listener(["upstreams", name, "listen"], mapping(upstream)?.listen, undefined));
	}
	const byPort = new Map<number, Listener[]>();
	for (const one of listeners) {
		// Port 0: the system chooses a free one each time.
		if (one === undefined || one.port === 0) continue;
		const others = byPort.get(one.port) ?? [];
		byPort.set(one.port, [...others, one]);
		const clash = others.find((other) => other.host === one.host || isWildcard(other.host) || isWildcard(one.host));
		if (clash === undefined) continue;
		report(one.path, "value", `port ${one.port} is taken by \`${clash.path.join(".")}\` already`, "give each listener a port of its own");
	}
}

function listener(path: Path, given: Plain | undefined, byDefault: string | undefined): Listener | undefined {
	const written = given === undefined ? byDefault : text(given);
	if (written === undefined) return undefined;
	const address = parseTcpAddress(written, 0);
	if (isRefusal(address)) return undefined;
	return { path, host: address.host === "localhost" ? "127.0.0.1" : address.host, port: address.port };
}

function isWildcard(host: string): boolean {
	return host === "0.0.0.0" || host === "::";
}

function mapping(value: Plain | undefined): Mapping | undefined {
	return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Mapping) : undefined;
}

function list(value: Plain | undefined): readonly Plain[] {
	return Array.isArray(value) ? value : [];
}

function text(value: Plain | undefined): string | undefined {
	return typeof value === "string" ? value : undefined;
}
