/** What befalls the mesh, as data: who does what when. Times are parts of the run, so that a short one is the same story told faster. */

export type Action = "kill" | "start" | "pause" | "resume" | "slow" | "fail" | "heal" | "restart";

export interface Step {
	/** From the first counted request. */
	readonly atMs: number;
	/** Index of the instance. */
	readonly endpoint: number;
	readonly action: Action;
}

export const SCENARIO_NAMES = ["dies", "hangs", "slows", "fails-fast", "flaps", "rolling-restart"] as const;
export type ScenarioName = (typeof SCENARIO_NAMES)[number];

export interface Scenario {
	readonly name: ScenarioName;
	readonly title: string;
	/** The instance in trouble, where there is just one. */
	readonly watched: number | undefined;
	readonly steps: readonly Step[];
}

/** The fault lasts from 30 % to 70 % of the run, so that there is a before to compare with and an after to recover in. */
export const FAULT_FROM = 0.3;
export const FAULT_TO = 0.7;
/** Times the usual latency while an instance is slow. */
export const SLOW_FACTOR = 20;

// Not the first, which a balancer that starts to count at 0 may favour.
const FAULTY = 2;
const FLAP_EVERY_MS = 1000;

/** `runMs` is the counted time; `endpoints` how many instances there are. */
export function scenarioOf(name: ScenarioName, runMs: number, endpoints: number): Scenario {
	const from = runMs * FAULT_FROM;
	const to = runMs * FAULT_TO;
	const between = (first: Action, last: Action): Step[] => [
		{ atMs: from, endpoint: FAULTY, action: first },
		{ atMs: to, endpoint: FAULTY, action: last },
	];
	switch (name) {
		case "dies":
			return { name, title: "An endpoint dies (SIGKILL) and comes back", watched: FAULTY, steps: between("kill", "start") };
		case "hangs":
			return { name, title: "An endpoint hangs (SIGSTOP) and goes on", watched: FAULTY, steps: between("pause", "resume") };
		case "slows":
			return { name, title: `An endpoint becomes ${SLOW_FACTOR} x slower`, watched: FAULTY, steps: between("slow", "heal") };
		case "fails-fast":
			return { name, title: "An endpoint answers 503 at once", watched: FAULTY, steps: between("fail", "heal") };
		case "flaps":
			return { name, title: "An endpoint dies and comes back every second", watched: FAULTY, steps: flaps(from, to) };
		case "rolling-restart":
			return { name, title: "All endpoints are restarted one after the other (SIGTERM)", watched: undefined, steps: rolling(from, to, endpoints) };
	}
}

function flaps(from: number, to: number): Step[] {
	const steps: Step[] = [];
	for (let atMs = from; atMs < to; atMs += FLAP_EVERY_MS) steps.push({ atMs, endpoint: FAULTY, action: steps.length % 2 === 0 ? "kill" : "start" });
	// Whatever the length of the run: it ends with the endpoint up.
	if (steps.length % 2 === 1) steps.push({ atMs: to, endpoint: FAULTY, action: "start" });
	return steps;
}

function rolling(from: number, to: number, endpoints: number): Step[] {
	return Array.from({ length: endpoints }, (_, endpoint) => ({ atMs: from + ((to - from) * endpoint) / endpoints, endpoint, action: "restart" }));
}
