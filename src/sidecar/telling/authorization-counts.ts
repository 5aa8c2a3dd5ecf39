/** How often each rule of authorization has decided, or would have, as plain numbers. */
import type { AuthorizationPolicy } from "../../policy/authorization-policy.ts";

export class RuleCounts {
	denied = 0;
	audited = 0;
	/** By a dry run. */
	wouldDeny = 0;
	/** Refused, which a dry run would have allowed. */
	wouldAllow = 0;
}

/** Label values are the names of rules, so their number is bounded by the policy (law 5). */
export class AuthorizationCounts {
	readonly #byRule = new Map<string, RuleCounts>();

	/** What is counted for rules that there are no more is forgotten. */
	adopt(policy: AuthorizationPolicy | undefined): void {
		const names = new Set(policy?.rules.map(({ name }) => name));
		for (const name of this.#byRule.keys()) if (name !== "" && !names.has(name)) this.#byRule.delete(name);
	}

	/** `rule`: "" where none decided. */
	of(rule: string): RuleCounts {
		let counts = this.#byRule.get(rule);
		if (counts === undefined) {
			counts = new RuleCounts();
			this.#byRule.set(rule, counts);
		}
		return counts;
	}

	all(): Iterable<readonly [rule: string, counts: Readonly<RuleCounts>]> {
		return this.#byRule;
	}
}
