/** What a series of check results says about one endpoint: a state machine without time or I/O. */

//              success                 failure x unhealthyThreshold
//   pending ------------> healthy <----------------------------------> unhealthy
//      |                     ^          success x healthyThreshold
//      | failure             | success
//      +----------------> starting
//
// The first result decides at once, as in Envoy and HAProxy: a start waits for one check of each endpoint and no longer.
// `starting` has never been seen well (a service that comes up after its callers): one success is enough for it.

export type HealthState =
	/** No result yet. May be used: with nothing known, trying is better than refusing. */
	| { readonly kind: "pending" }
	/** `run` counts the latest results in a row that were alike; `failed` whether those were failures. */
	| { readonly kind: "healthy" | "starting" | "unhealthy"; readonly run: number; readonly failed: boolean };

export type HealthStatus = "pending" | "healthy" | "unhealthy";

export interface HealthThresholds {
	/** Failures in a row that make a healthy endpoint unhealthy, at least 1. */
	readonly unhealthyThreshold: number;
	/** Successes in a row that make it healthy again, at least 1. */
	readonly healthyThreshold: number;
}

export const PENDING: HealthState = { kind: "pending" };

type SeenState = Exclude<HealthState, { kind: "pending" }>;
type Kind = HealthState["kind"];
interface Transition {
	readonly to: SeenState["kind"];
	readonly after: 1 | keyof HealthThresholds;
}

/** For each state and result: where it leads, and after how many such results in a row. */
const TRANSITIONS: Readonly<Record<Kind, Readonly<Record<"success" | "failure", Transition>>>> = {
	pending: { success: { to: "healthy", after: 1 }, failure: { to: "starting", after: 1 } },
	starting: { success: { to: "healthy", after: 1 }, failure: { to: "starting", after: 1 } },
	healthy: { success: { to: "healthy", after: 1 }, failure: { to: "unhealthy", after: "unhealthyThreshold" } },
	unhealthy: { success: { to: "healthy", after: "healthyThreshold" }, failure: { to: "unhealthy", after: 1 } },
};

/** The state after one more result. */
export function afterResult(state: HealthState, succeeded: boolean, thresholds: HealthThresholds): SeenState {
	const { to, after } = TRANSITIONS[state.kind][succeeded ? "success" : "failure"];
	const run = state.kind !== "pending" && state.failed !== succeeded ? state.run + 1 : 1;
	const needed = after === 1 ? 1 : thresholds[after];
	const kind = state.kind === "pending" || run >= needed ? to : state.kind;
	return { kind, run, failed: !succeeded };
}

/** What the rest of the product is told. */
export function statusOf(state: HealthState): HealthStatus {
	switch (state.kind) {
		case "pending":
			return "pending";
		case "healthy":
			return "healthy";
		case "starting":
		case "unhealthy":
			return "unhealthy";
	}
}
