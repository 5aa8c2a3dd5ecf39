/** From what the state of Nexus could not do to a problem document. */
import type { Problem } from "../../server/problem.ts";
import type { StateFailed, StateFailure } from "../state/state-store.ts";

const STATUS: Readonly<Record<StateFailure, number>> = {
	full: 507,
	io: 500,
	unavailable: 503,
	overloaded: 503,
	invalid: 400,
	closed: 503,
	unknown: 503,
};

export function stateProblem({ failure, detail }: StateFailed): Problem {
	return { status: STATUS[failure], title: "The state of Nexus could not be used.", detail, reason: `state_${failure}` };
}
