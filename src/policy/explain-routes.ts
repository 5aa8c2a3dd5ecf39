/** Routes in words: why one was taken or not, and what it does. */
import { assertNever } from "../core/errors.ts";
import { hashKeyText, percentText } from "./explain-configured.ts";
import type { RouteVerdict } from "./route-table.ts";
import type { RoutePolicy } from "./snapshot.ts";
import type { FieldMatch, RouteAction } from "./traffic-policy.ts";

/** Why a route was taken or not, after its name. */
export function verdictText({ match, action }: RoutePolicy, verdict: RouteVerdict): string {
	switch (verdict.kind) {
		case "matched":
			return `matches${match.percent < 100 ? `, as ${percentText(match.percent)} of such requests` : ""}: ${actionText(action)}`;
		case "later":
			return "would match as well, but an earlier route has won";
		case "host":
			return `the host is not ${match.host}`;
		case "path":
			return `the path does not fit ${match.path?.pattern}`;
		case "method":
			return `the method is not ${match.methods.join(" or ")}`;
		case "from":
			return `it is for requests of ${match.from.join(" or ")} only`;
		case "header":
			return `header ${verdict.name} is ${fieldText(verdict.expected, verdict.actual)}`;
		case "query":
			return `query parameter ${verdict.name} is ${fieldText(verdict.expected, verdict.actual)}`;
		case "percent":
			return `it takes ${percentText(verdict.percent)} of such requests, and the draw for this one was ${verdict.drawn.toFixed(2)}`;
		default:
			return assertNever(verdict);
	}
}

function fieldText(expected: FieldMatch, actual: string | undefined): string {
	const given = actual === undefined ? "absent" : JSON.stringify(actual);
	switch (expected.kind) {
		case "exact":
			return `${given}, not ${JSON.stringify(expected.value)}`;
		case "prefix":
			return `${given}, not something that begins with ${JSON.stringify(expected.value)}`;
		case "present":
			return given;
		case "absent":
			return `there: ${given}`;
		default:
			return assertNever(expected);
	}
}

export function actionText(action: RouteAction): string {
	switch (action.kind) {
		case "forward": {
			const { destinations, sticky } = action;
			const [only] = destinations;
			if (destinations.length === 1 && only !== undefined) return `to ${only.to}`;
			const shares = shareOf(destinations);
			const parts = destinations.map(({ to }, i) => `${to} ${percentText((shares[i] ?? 0) * 100)}`);
			return `split over ${parts.join(", ")}${sticky === undefined ? "" : `, always the same for one ${hashKeyText(sticky)}`}`;
		}
		case "redirect":
			return `redirected with ${action.redirect.status}`;
		case "respond":
			return `answered here with ${action.respond.status}`;
		default:
			return assertNever(action);
	}
}

/** 0..1 each. */
export function shareOf(destinations: readonly { readonly weight: number }[]): readonly number[] {
	const total = destinations.reduce((sum, { weight }) => sum + weight, 0);
	return destinations.map(({ weight }) => weight / total);
}
