/** Traces and decisions for tests, with what a test does not care about filled in. */
import type { Decision, DecisionTrace } from "../../../src/policy/decision-trace.ts";

export function decision(more: Partial<Decision> = {}): Decision {
	return { stage: "route", verdict: "yes", atMs: 0, text: "route canary matches", place: undefined, data: undefined, ...more };
}

export function trace(more: Partial<DecisionTrace> = {}): DecisionTrace {
	return {
		id: "r1",
		time: "2026-01-02T03:04:05.678Z",
		direction: "outbound",
		method: "GET",
		host: "search",
		target: "/api/x?q=1",
		route: "canary",
		upstream: "search-v2",
		endpoint: "10.0.0.1:80",
		status: 200,
		reason: undefined,
		detail: "",
		attempts: 1,
		durationMs: 12.5,
		policyVersion: 3,
		decisions: [],
		...more,
	};
}
