/**
 * What no single key can tell: references, duplicates, combinations. Works on the plain values, not on the typed
 * configuration, so that these faults are told together with all others.
 */

import { addressText } from "./address-text.ts";
import { checkAuthorization } from "./cross-checks-authorization.ts";
import { checkIdentity, checkUpstreamTls } from "./cross-checks-identity.ts";
import { checkCircuitBreaker, checkFault, checkKnownUpstream, checkOutlier, checkRateLimits, checkRetry } from "./cross-checks-resilience.ts";
import { checkBalancing, checkRoutes } from "./cross-checks-traffic.ts";
import { DEFAULTS } from "./defaults.ts";
import { isRefusal } from "./fault.ts";
import { durationMs, list, type Mapping, mapping, text, texts } from "./plain.ts";
import { type Path, type Plain, UNSET } from "./tree.ts";
import { parseAddress, parseDuration, parseName, parseTcpAddress } from "./values.ts";

/** `at: key` points at the key that leads to the path, `value` at what stands there. */
export type Report = (path: Path, at: "key" | "value", message: string, hint: string) => void;

export function crossCheck(plain: Plain, report: Report): void {
	const policy = mapping(plain);
	if (policy === undefined) return;
	// Nexus may say all about traffic.
	if (policy.inbound === undefined && policy.outbound === undefined && policy.policy === undefined) {
		report([], "value", "neither `inbound` nor `outbound` is given", "add `inbound:` for traffic to this service, `outbound:` for traffic from it");
	}
	const upstreams = mapping(policy.upstreams) ?? {};
	checkRoutes(list(mapping(policy.outbound)?.routes), upstreams, report);
	for (const [name, upstream] of Object.entries(upstreams)) checkUpstream(name, mapping(upstream) ?? {}, policy, report);
	checkPolicies(list(policy.policies), policy.service, upstreams, report);
	checkInbound(mapping(policy.inbound), report);
	checkIdentity(policy, report);
	checkTracing(mapping(policy.tracing), report);
	checkSpool(mapping(mapping(policy.nexus)?.spool), report);
	checkSource(policy, report);
	checkListeners(policy, upstreams, report);
}

function checkUpstream(name: string, upstream: Mapping, policy: Mapping, report: Report): void {
	const path = ["upstreams", name];
	const valid = parseName(name);
	if (isRefusal(valid)) report(path, "key", `\`${name}\` ${valid.refused}`, valid.hint);
	const sources = ["endpoints", "dns", "file", "registry"].filter((key) => upstream[key] !== undefined);
	if (sources.length === 0) report(path, "key", `upstream \`${name}\` has no endpoints`, "give one of `endpoints`, `dns`, `file` and `registry`");
	for (const extra of sources.slice(1)) {
		report([...path, extra], "key", `\`${sources[0]}\` and \`${extra}\` are both given`, "keep one of `endpoints`, `dns`, `file` and `registry`");
	}
	if (upstream.registry !== undefined && policy.nexus === undefined)
		report([...path, "registry"], "key", "`registry` does not act without `nexus.url`", "add `nexus: { url: http://... }`");
	checkEndpoints(list(upstream.endpoints), [...path, "endpoints"], report);
	checkDns(mapping(upstream.dns), [...path, "dns"], report);
	checkHealthCheck(mapping(upstream.healthCheck), [...path, "healthCheck"], report);
	checkUpstreamTls(upstream.tls, policy.identity !== undefined, [...path, "tls"], report);
	checkBalancing(upstream, policy.zone, path, report);
	checkCircuitBreaker(mapping(upstream.circuitBreaker), name, mapping(policy.upstreams) ?? {}, [...path, "circuitBreaker"], report);
	checkOutlier(mapping(upstream.outlierDetection), [...path, "outlierDetection"], report);
	const requestMs = durationMs(mapping(upstream.timeout)?.request ?? DEFAULTS.timeout.request);
	checkRetry(mapping(upstream.retry), requestMs, [...path, "retry"], report);
	checkRateLimits(list(upstream.rateLimits), [...path, "rateLimits"], report);
	const fault = mapping(upstream.fault);
	if (fault !== undefined) checkFault(fault, endpointTexts(upstream.endpoints), [...path, "fault"], report);
}

/** As faults name them; undefined where they are not listed here. */
function endpointTexts(endpoints: Plain | undefined): readonly string[] | undefined {
	if (!Array.isArray(endpoints)) return undefined;
	return endpoints.flatMap((item) => {
		const address = parseAddress(text(mapping(item)?.address) ?? "");
		return isRefusal(address) ? [] : [addressText(address)];
	});
}

/** Entries for everybody may speak of upstreams that only others have; one for this very service may not. */
function checkPolicies(policies: readonly Plain[], service: Plain | undefined, upstreams: Mapping, report: Report): void {
	policies.forEach((item, i) => {
		const { from, to } = mapping(item) ?? {};
		if (!texts(from).includes(text(service) ?? "")) return;
		const path = ["policies", i, "to"];
		for (const name of texts(to)) {
			if (name === "*") continue;
			checkKnownUpstream(name, upstreams, Array.isArray(to) ? [...path, to.indexOf(name)] : path, report);
		}
	});
}

function checkInbound(inbound: Mapping | undefined, report: Report): void {
	if (inbound === undefined) return;
	checkAuthorization(mapping(inbound.authorization), ["inbound", "authorization"], report);
	checkRateLimits(list(inbound.rateLimits), ["inbound", "rateLimits"], report);
	checkCircuitBreaker(mapping(inbound.circuitBreaker), undefined, {}, ["inbound", "circuitBreaker"], report);
}

function checkTracing(tracing: Mapping | undefined, report: Report): void {
	if (tracing?.sample === undefined || tracing.otlp !== undefined) return;
	report(["tracing", "sample"], "key", "`sample` does not act without `otlp`", "say where spans go, or remove it");
}

function checkSpool(spool: Mapping | undefined, report: Report): void {
	if (spool?.maxBytes === undefined || spool.dir !== undefined) return;
	report(["nexus", "spool", "maxBytes"], "key", "`maxBytes` does not act without `dir`", "name a directory, or remove it");
}

function checkSource(policy: Mapping, report: Report): void {
	const add = "add `nexus: { url: http://... }`";
	if (policy.policy !== undefined && policy.nexus === undefined) report(["policy"], "key", "`policy` does not act without `nexus.url`", add);
	if (mapping(policy.nexus)?.register !== undefined && policy.inbound === undefined && policy.policy === undefined)
		report(["nexus", "register"], "key", "`register` does not act without `inbound`", "there is nothing that others could reach: remove it");
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
