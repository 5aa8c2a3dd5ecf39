/** `/authorization` of the admin API: whom the rules that are being tried would have refused. */
import { placeText } from "../../policy/place-text.ts";
import { sendJson } from "../../server/problem.ts";
import { isoTime } from "./answers.ts";
import type { AdminEndpoint } from "./router.ts";
import type { AdminView } from "./view.ts";

export function authorizationEndpoints(view: AdminView): readonly AdminEndpoint[] {
	return [
		{
			method: "GET",
			path: "/authorization/dry-run",
			summary: "whom the dry runs of the rules would have refused, how often, and by which rule",
			run: ({ res }) => sendJson(res, 200, dryRunJson(view)),
		},
	];
}

function dryRunJson(view: AdminView): Record<string, unknown> {
	const authorization = view.policy().snapshot.inbound?.authorization;
	return {
		/** Rules that are tried, those included that would have refused nobody. */
		trying: (authorization?.rules ?? [])
			.filter(({ dryRun }) => dryRun)
			.map(({ name, action, place }) => ({ rule: name, action, place: placeText(place) })),
		wouldRefuse: (view.dryRuns?.() ?? []).map(({ rule, place, total, callers }) => ({
			/** Null: no rule would allow it any more. */
			rule: rule ?? null,
			place: place !== undefined ? placeText(place) : authorization === undefined ? "" : placeText(authorization.place),
			total,
			callers: callers.map(({ lastMs, ...caller }) => ({ ...caller, last: isoTime(lastMs) })),
		})),
	};
}
