/** Why a request was allowed or refused: every rule in words, for operators only. The decision itself comes from the authorizer. */
import { assertNever } from "../../core/errors.ts";
import type { AuthorizationRule } from "../../policy/authorization-policy.ts";
import { callerText } from "../../policy/authorization-values.ts";
import type { Decision, DecisionData, DecisionVerdict } from "../../policy/decision-trace.ts";
import { pathReadings } from "../../policy/path-readings.ts";
import type { Place } from "../../policy/snapshot.ts";
import type { FieldMatch } from "../../policy/traffic-policy.ts";
import type { Authorizer } from "./authorizer.ts";
import type { Obstacle } from "./compiled-rule.ts";
import { ALLOW, type CompiledRule, DRY_ALLOW, NOTHING } from "./compiled-rule.ts";
import type { AuthorizationSubject } from "./subject.ts";

// A trace takes 256 decisions, of which the rest of a request's life needs its share. Rules that fit are told before those that do not.
const RULES_TOLD_MAX = 100;

/** `atMs` 0, as offline. `caller`: as for `Authorizer.meet`. In file order, what decided last where it is no rule. */
export function explainAuthorization(authorizer: Authorizer, caller: string, subject: AuthorizationSubject): Decision[] {
	const { allowed, rule: deciding, wouldDenyByDefault, wouldAllow } = authorizer.meet(caller).decide(subject);
	const readings = pathReadings(subject.path);
	const told = authorizer.rules.map((rule) => ({ rule, obstacle: obstacleOf(rule, caller, subject, readings) }));
	const decisions: Decision[] = [decision("note", callerSentence(caller), authorizer.policy.place, { caller })];
	if (readings.length > 1) {
		const text = `servers may read this path as ${readings.join(" or ")}: each reading must be allowed`;
		decisions.push(decision("note", text, undefined, { readings }));
	}
	const fitting = told.filter(({ obstacle }) => obstacle === undefined).slice(0, RULES_TOLD_MAX);
	const others = told.filter(({ obstacle }) => obstacle !== undefined).slice(0, RULES_TOLD_MAX - fitting.length);
	for (const { rule, obstacle } of [...fitting, ...others].sort((a, b) => a.rule.order - b.rule.order)) {
		decisions.push(ruleDecision(rule, obstacle, allowed, deciding));
	}
	const untold = told.length - fitting.length - others.length;
	if (untold !== 0) decisions.push(decision("note", `${untold} more rules`, authorizer.policy.place));
	if (wouldDenyByDefault)
		decisions.push(decision("note", "if the dry runs were none it would be refused: no rule allows it", authorizer.policy.place));
	if (wouldAllow) decisions.push(decision("note", "if the dry runs were none it would be allowed", authorizer.policy.place));
	if (deciding === undefined) {
		const text = allowed ? "allowed: no rule refuses it" : "refused: no rule allows it";
		decisions.push(decision(allowed ? "yes" : "no", text, authorizer.policy.place, { default: authorizer.policy.default }));
	}
	return decisions;
}

/** For `allow` the first reading that it does not fit; for the others one that fits is enough. */
function obstacleOf(rule: CompiledRule, caller: string, subject: AuthorizationSubject, readings: readonly string[]): Obstacle | undefined {
	const obstacles = readings.map((path) => rule.obstacle(caller, subject, path));
	if (rule.effect === ALLOW || rule.effect === DRY_ALLOW) return obstacles.find((obstacle) => obstacle !== undefined);
	return obstacles.includes(undefined) ? undefined : obstacles[0];
}

function ruleDecision(rule: CompiledRule, obstacle: Obstacle | undefined, allowed: boolean, deciding: AuthorizationRule | undefined): Decision {
	const { policy } = rule;
	const decides = policy === deciding;
	const text = `rule ${policy.name}${policy.dryRun ? " (dry run)" : ""} ${
		obstacle === undefined ? effectText(rule, allowed, decides) : `does not fit: ${obstacleText(policy, obstacle)}`
	}`;
	const data = { rule: policy.name, action: policy.action, dryRun: policy.dryRun, fits: obstacle === undefined };
	const because: DecisionData = obstacle === undefined ? data : { ...data, because: obstacle.kind };
	return decision(decides ? (allowed ? "yes" : "no") : "note", text, policy.place, because);
}

function effectText({ policy, effect }: CompiledRule, allowed: boolean, decides: boolean): string {
	if (effect === NOTHING) return "fits, and would be told";
	if (policy.action === "audit") return "fits, and is told";
	if (policy.dryRun) return `fits: it would ${policy.action === "allow" ? "allow" : "refuse"} this`;
	if (decides) return allowed ? "fits: allowed" : "fits: refused";
	if (policy.action === "allow" && !allowed) return "fits, but it is refused all the same";
	return "fits as well, but another rule has decided";
}

function obstacleText(rule: AuthorizationRule, obstacle: Obstacle): string {
	switch (obstacle.kind) {
		case "from":
			return `the caller is not ${rule.from.map(callerText).join(" or ")}`;
		case "port":
			return `the port is not ${rule.ports.join(" or ")}`;
		case "method":
			return `the method is not ${rule.methods.join(" or ")}`;
		case "path":
			return `the path does not fit ${rule.paths.map(({ pattern }) => pattern).join(" or ")}`;
		case "header":
			return `header ${obstacle.name} is ${headerText(obstacle.expected, obstacle.there)}`;
		default:
			return assertNever(obstacle);
	}
}

/** Never the value that came: it may be a secret. */
function headerText(expected: FieldMatch, there: boolean): string {
	switch (expected.kind) {
		case "exact":
			return there ? `not ${JSON.stringify(expected.value)}` : "absent";
		case "prefix":
			return there ? `nothing that begins with ${JSON.stringify(expected.value)}` : "absent";
		case "present":
			return "absent";
		case "absent":
			return "there";
		default:
			return assertNever(expected);
	}
}

function callerSentence(caller: string): string {
	return caller === "" ? "the caller is not authenticated" : `the caller is ${caller}`;
}

function decision(verdict: DecisionVerdict, text: string, place: Place | undefined, data?: DecisionData): Decision {
	return { stage: "authorize", verdict, atMs: 0, text, place, data };
}
