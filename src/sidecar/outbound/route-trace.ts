/** What routing says in a decision trace: each route with why it was taken or not. */
import type { DecisionLog } from "../../policy/decision-trace.ts";
import { verdictText } from "../../policy/explain.ts";
import type { ConsideredRoute } from "../../policy/route-table.ts";

// A person reads a screenful; routes for other hosts say least.
const ROUTES_TOLD_MAX = 32;

export function tellRoutes(trace: DecisionLog, considered: readonly ConsideredRoute[]): void {
	const near = considered.length <= ROUTES_TOLD_MAX ? considered : considered.filter(({ verdict }) => verdict.kind !== "host");
	for (const { route, verdict } of near.slice(0, ROUTES_TOLD_MAX)) {
		const taken = verdict.kind === "matched";
		trace.add("route", taken ? "yes" : "no", `route ${route.name}: ${verdictText(route, verdict)}`, route.place, { brief: route.name });
	}
	const untold = considered.length - Math.min(near.length, ROUTES_TOLD_MAX);
	if (untold > 0) trace.add("route", "note", `${untold} further routes were looked at`);
}
