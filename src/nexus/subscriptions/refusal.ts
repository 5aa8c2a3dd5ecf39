/** Why something was not done to a subscription. */
import type { FilterFault } from "./filter/schema.ts";
import type { Subscription } from "./subscription.ts";

/**
 * `precondition`: the revision is another one. `dead_letters`: it still has some. `unavailable`: the state did not take it, and it is as it was
 * (or, where the state says `unknown`, as it is found). `moved`: it is on its way to another node, or gives way to a changed one; come again.
 */
export type Refusal =
	| { readonly ok: false; readonly failure: "not_found" | "too_many" | "moved" }
	| { readonly ok: false; readonly failure: "precondition"; readonly actual: number }
	| { readonly ok: false; readonly failure: "invalid"; readonly faults: readonly FilterFault[] }
	| { readonly ok: false; readonly failure: "dead_letters"; readonly count: number }
	| { readonly ok: false; readonly failure: "paused" | "unavailable"; readonly detail: string };

export type Changed = { readonly ok: true; readonly subscription: Subscription; readonly isNew: boolean } | Refusal;

export const NOT_FOUND: Refusal = Object.freeze({ ok: false, failure: "not_found" });
export const MOVED: Refusal = Object.freeze({ ok: false, failure: "moved" });
