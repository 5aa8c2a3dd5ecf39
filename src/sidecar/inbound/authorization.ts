/** The stage that asks the rules whether a caller may do what it asks for. Synchronous; tells only where there is something to tell. */
import { Authorizer, type CallerRules } from "../../identity/authorization/authorizer.ts";
import type { AuthorizationSubject } from "../../identity/authorization/subject.ts";
import type { Verdict } from "../../identity/authorization/verdict.ts";
import type { AuthorizationPolicy, AuthorizationRule } from "../../policy/authorization-policy.ts";
import type { DecisionLog } from "../../policy/decision-trace.ts";
import { placeText } from "../../policy/place-text.ts";
import type { Client, Refusal } from "../exchange/stack.ts";

export interface AuthorizationObserver {
	/** A verdict that is no plain permission: a refusal, an audit, or a dry run that would have decided otherwise. Valid only during the call. */
	onVerdict(policy: AuthorizationPolicy, verdict: Verdict, client: Pick<Client, "caller" | "address">, subject: AuthorizationSubject): void;
}

export class InboundAuthorization {
	readonly #authorizer: Authorizer;
	readonly #observer: AuthorizationObserver;

	constructor(policy: AuthorizationPolicy, trustDomain: string, observer: AuthorizationObserver) {
		this.#authorizer = new Authorizer(policy, trustDomain);
		this.#observer = observer;
	}

	/** `caller`: its verified SPIFFE ID, "" where it has none. */
	meet(caller: string): CallerRules {
		return this.#authorizer.meet(caller);
	}

	/** `rules`: as `meet` has given them for this caller. */
	decide(rules: CallerRules, subject: AuthorizationSubject, client: Client, trace: DecisionLog | undefined): Refusal | undefined {
		const verdict = rules.decide(subject);
		const { policy } = this.#authorizer;
		if (!isPlain(verdict)) this.#observer.onVerdict(policy, verdict, client, subject);
		if (trace !== undefined) tell(trace, policy, verdict, client);
		return verdict.allowed ? undefined : refusalOf(policy, verdict.rule, client.caller);
	}
}

function isPlain({ allowed, audited, wouldDeny, wouldDenyByDefault }: Verdict): boolean {
	return allowed && audited.length === 0 && wouldDeny.length === 0 && !wouldDenyByDefault;
}

/** The rule is named to operators only: whoever is refused must not learn what to try next. */
function refusalOf(policy: AuthorizationPolicy, rule: AuthorizationRule | undefined, caller: string): Refusal {
	const who = callerName(caller);
	const place = rule?.place ?? policy.place;
	const text = rule === undefined ? `no rule allows this to ${who}` : `rule ${rule.name} refuses this to ${who}`;
	return {
		kind: "refusal",
		reason: "unauthorized",
		detail: `${text} (${placeText(place)})`,
		told: caller === "" ? "the caller has not shown who it is" : `the caller is ${caller}`,
		because: { stage: "authorize", text, place, data: { brief: rule?.name ?? "default", caller, rule: rule?.name ?? null } },
	};
}

/** All but the refusal, which its exchange tells. */
function tell(
	trace: DecisionLog,
	policy: AuthorizationPolicy,
	{ allowed, rule, audited, wouldDeny, wouldDenyByDefault, wouldAllow }: Verdict,
	{ caller }: Client,
): void {
	const who = callerName(caller);
	for (const { name, place } of audited) trace.add("authorize", "note", `rule ${name} audits this`, place, { brief: name, caller });
	for (const { name, place } of wouldDeny) {
		trace.add("authorize", "note", `rule ${name} (dry run) would refuse this to ${who}`, place, { brief: name, caller });
	}
	if (wouldDenyByDefault) {
		trace.add("authorize", "note", `if the dry runs were none, no rule would allow this to ${who}`, policy.place, { brief: "default", caller });
	}
	if (wouldAllow) trace.add("authorize", "note", `if the dry runs were none, this would be allowed to ${who}`, policy.place, { caller });
	if (!allowed) return;
	const text = rule === undefined ? `no rule refuses this to ${who}` : `rule ${rule.name} allows this to ${who}`;
	trace.add("authorize", "yes", text, rule?.place ?? policy.place, { brief: rule?.name ?? "default", caller, rule: rule?.name ?? null });
}

function callerName(caller: string): string {
	return caller === "" ? "an unauthenticated caller" : caller;
}
