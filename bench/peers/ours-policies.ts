/** Policies of ours that configure what the main policy leaves to its defaults: nothing of it, or all of it with nothing to do. */
import { ORIGIN_HOST } from "../origin.ts";
import { policyOf } from "./ours.ts";
import type { Plan } from "./peer.ts";

type Ports = Omit<Plan, "workspace">;

// A rate that one core cannot reach, so that every request is counted and none is held up.
const RATE_NEVER_REACHED = 1_000_000;
const ROUTES = 100;
const ROUTES_OF_ORIGIN = 3;
const OTHER_HOSTS = 33;

/** What costs something by default is off. */
export function barePolicy(ports: Ports): string {
	return policyOf(ports, { ofOrigin: ["outlierDetection: { enabled: false }", "retry: { attempts: 0 }"] });
}

/** Every feature of resilience and traffic policy, on one path; on a sound origin none of them ever acts. */
export function fullPolicy(ports: Ports): string {
	const limit = (name: string, key: string) =>
		`{ name: ${name}, requestsPerSecond: ${RATE_NEVER_REACHED}, burst: ${RATE_NEVER_REACHED}, key: ${key} }`;
	const ofOrigin = [
		"loadBalancing: peak-ewma",
		"slowStart: { window: 30s }",
		"circuitBreaker: { scope: endpoint, failureThreshold: 5, failureRate: 0.5, slowCallRate: 0.8, slowCallDuration: 1s, maxConcurrent: 1024, maxPending: 1024 }",
		"outlierDetection: { successRate: { enabled: true }, failurePercentage: { enabled: true } }",
		"retry: { attempts: 2, perTryTimeout: 2s, hedge: { after: p99, maxExtra: 5% } }",
		`rateLimits: [ ${limit("of-upstream", "global")} ]`,
		"fault: { abort: { percent: 0 } }",
	];
	return policyOf(ports, {
		ofOrigin,
		ofOutbound: ["routes:", ...routes(limit("per-address", "ip")).map((route) => `  - ${route}`)],
		rest: `inbound:
  listen: 127.0.0.1:0
  application: 127.0.0.1:${ports.originPort}
  rateLimits: [ ${limit("per-caller", "caller")} ]
`,
	});
}

/** So many routes of ten hosts, and the one that fits at their end. */
export function routedPolicy(ports: Ports, count: number): string {
	const others = Array.from(
		{ length: count - 1 },
		(_, i) => `{ name: r-${i}, match: { host: other-${i % 10}, path: /api/v${i}/** }, to: ${ORIGIN_HOST} }`,
	);
	const routes = [...others, `{ name: main, match: { host: ${ORIGIN_HOST}, path: /** }, to: ${ORIGIN_HOST} }`];
	return policyOf(ports, {
		ofOrigin: ["outlierDetection: { enabled: false }", "retry: { attempts: 0 }"],
		ofOutbound: ["routes:", ...routes.map((route) => `  - ${route}`)],
	});
}

/** In the order of a policy that has grown: those of other hosts, then two that nearly fit, then the one that does. */
function routes(limit: string): string[] {
	const others = Array.from({ length: ROUTES - ROUTES_OF_ORIGIN }, (_, i) => {
		const further = [", headers: { x-beta: { prefix: b } }", ", percent: 10", ""][i % 3];
		return `{ name: other-${i}, match: { host: other-${i % OTHER_HOSTS}, path: /api/**${further} }, to: ${ORIGIN_HOST} }`;
	});
	return [
		...others,
		`{ name: canary, match: { host: ${ORIGIN_HOST}, headers: { x-beta: "1" } }, to: ${ORIGIN_HOST} }`,
		`{ name: trial, match: { host: ${ORIGIN_HOST}, percent: 1 }, to: ${ORIGIN_HOST} }`,
		`{ name: main, match: { host: ${ORIGIN_HOST} }, to: ${ORIGIN_HOST}, rateLimits: [ ${limit} ] }`,
	];
}
