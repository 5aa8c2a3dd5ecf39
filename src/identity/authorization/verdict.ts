/** What the rules say about one request. Owned by the authorizer and used again for the next one: read it, do not keep it. */
import type { AuthorizationRule } from "../../policy/authorization-policy.ts";

export class Verdict {
	allowed = true;
	/** What decided; undefined: no rule did, so the default. */
	rule: AuthorizationRule | undefined = undefined;
	/** The audit rules that fit. */
	readonly audited: AuthorizationRule[] = [];
	/** Dry runs that would refuse it; empty where it is refused anyway. */
	readonly wouldDeny: AuthorizationRule[] = [];
	/** Whether it is allowed, and if the dry runs were none it would be refused because no rule allows it. */
	wouldDenyByDefault = false;
	/** Whether it is refused, and if the dry runs were none it would be allowed. */
	wouldAllow = false;
}
