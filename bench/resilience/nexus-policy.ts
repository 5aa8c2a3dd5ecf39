/** The policy of our sidecar with the features that a setup has, and everything else off. */
import { type Feature, SERVICE, SETTINGS } from "./settings.ts";

export interface Ports {
	readonly port: number;
	readonly adminPort: number;
}

export function nexusPolicy({ port, adminPort }: Ports, addresses: readonly string[], features: readonly Feature[]): string {
	const has = (feature: Feature) => features.includes(feature);
	const { outlier, breaker, healthCheck } = SETTINGS;
	const lines = [
		`endpoints: [${addresses.map((address) => ` { address: "${address}" }`).join(",")} ]`,
		`loadBalancing: ${has("peak-ewma") ? "peak-ewma" : "round-robin"}`,
		`timeout: { request: ${SETTINGS.requestTimeoutMs}ms, connect: ${SETTINGS.connectTimeoutMs}ms }`,
		`retry: ${retryOf(has)}`,
		`outlierDetection: ${
			has("outlier-ejection")
				? `{ consecutiveFailures: ${outlier.consecutiveFailures}, interval: ${outlier.intervalMs}ms, baseEjectionTime: ${outlier.baseEjectionTimeMs}ms, maxEjectionPercent: ${outlier.maxEjectionPercent} }`
				: "{ enabled: false }"
		}`,
	];
	if (has("breaker")) {
		lines.push(
			`circuitBreaker: { scope: endpoint, failureThreshold: ${breaker.failureThreshold}, successThreshold: ${breaker.successThreshold}, openFor: ${breaker.openForMs}ms, slowCallRate: ${breaker.slowCallRate}, slowCallDuration: ${breaker.slowCallMs}ms, window: ${breaker.windowMs}ms, minRequests: ${breaker.minRequests}, maxConcurrent: ${SETTINGS.concurrent}, maxPending: ${SETTINGS.pending} }`,
		);
	}
	if (has("health-checks")) {
		lines.push(
			`healthCheck: { kind: http, path: /healthz, interval: ${healthCheck.intervalMs}ms, timeout: ${healthCheck.timeoutMs}ms, unhealthyThreshold: ${healthCheck.unhealthyThreshold}, healthyThreshold: ${healthCheck.healthyThreshold} }`,
		);
	}
	return `service: caller
admin: { listen: 127.0.0.1:${adminPort} }
outbound:
  listen: 127.0.0.1:${port}
upstreams:
  ${SERVICE}:
${lines.map((line) => `    ${line}\n`).join("")}`;
}

function retryOf(has: (feature: Feature) => boolean): string {
	const { retry } = SETTINGS;
	const retries = has("retries");
	const perTry = has("per-try-timeout");
	const on = [...(retries ? ["connect-failure", "reset", "502", "503", "504"] : []), ...(perTry ? ["per-try-timeout"] : [])];
	// A time limit of a try is good for nothing without another try: alone it comes with tries for just that cause.
	const parts = [`attempts: ${on.length > 0 ? retry.attempts : 0}`];
	if (on.length > 0) parts.push(`on: [${on.join(", ")}]`);
	if (retries) parts.push(`backoff: { base: ${retry.baseMs}ms, max: ${retry.maxMs}ms }`);
	if (perTry) parts.push(`perTryTimeout: ${SETTINGS.perTryTimeoutMs}ms`);
	if (has("hedging")) parts.push(`hedge: { after: ${SETTINGS.hedgeAfterMs}ms, maxExtra: ${SETTINGS.hedgeMaxExtra * 100}% }`);
	parts.push(`budget: { ratio: ${retry.budgetRatio}, minPerSecond: ${retry.budgetMin} }`);
	return `{ ${parts.join(", ")} }`;
}
