/** Whom the dry runs would have refused: how often, and when last. Bounded, however many callers there are. */
import type { AuthorizationPolicy, AuthorizationRule } from "../../policy/authorization-policy.ts";
import type { Place } from "../../policy/snapshot.ts";
import type { AuthorizationSubject } from "./subject.ts";
import { TopCallers, type WouldBeRefused } from "./top-callers.ts";
import type { Verdict } from "./verdict.ts";

export interface DryRunCount {
	/** Undefined: no rule would have allowed it, if the dry runs were none. */
	readonly rule: string | undefined;
	readonly place: Place | undefined;
	/** Exact. */
	readonly total: number;
	/** The most frequent, falling. */
	readonly callers: readonly WouldBeRefused[];
}

interface Row {
	readonly rule: AuthorizationRule | undefined;
	total: number;
	readonly callers: TopCallers;
}

/** What a list shows; every caller of more than one in 64 of a rule's refusals is surely among them. */
const CALLERS_PER_RULE = 64;
// About 400 bytes each: 3 MB. With more dry runs at a time than 128, each remembers fewer callers.
const CALLERS_MAX = 8_192;
const CALLERS_PER_RULE_MIN = 4;

export class DryRunLedger {
	#rows = new Map<string, Row>();
	/** Of the whole policy. */
	#meaning = "";
	#capacity = CALLERS_PER_RULE;

	/**
	 * Takes the policy that begins to act; undefined: there is none any more. What was counted for a rule that says the same as before is
	 * kept; what was counted for no rule in particular, only where all of them do.
	 */
	adopt(policy: AuthorizationPolicy | undefined): void {
		const rules = policy?.rules ?? [];
		const tried = rules.filter(({ dryRun }) => dryRun);
		const share = Math.floor(CALLERS_MAX / (tried.length + 1));
		this.#capacity = Math.max(CALLERS_PER_RULE_MIN, Math.min(CALLERS_PER_RULE, share));
		const rows = new Map<string, Row>();
		for (const rule of tried) {
			const before = this.#rows.get(rule.name);
			if (before?.rule !== undefined && meaning(before.rule) === meaning(rule)) rows.set(rule.name, { ...before, rule });
		}
		const all = JSON.stringify([policy?.default, policy?.dryRunDefault, ...rules.map(meaning)]);
		const byDefault = this.#rows.get("");
		if (byDefault !== undefined && all === this.#meaning) rows.set("", byDefault);
		this.#meaning = all;
		this.#rows = rows;
	}

	/**
	 * After each decision; costs nothing where no dry run would refuse. `caller`: SPIFFE id, or "" for an unauthenticated one, who is told
	 * by its address instead. `wallMs` since 1970.
	 */
	record(verdict: Verdict, caller: string, address: string, subject: Pick<AuthorizationSubject, "method" | "path">, wallMs: number): void {
		if (verdict.wouldDenyByDefault) this.#add(undefined, caller, address, subject, wallMs);
		for (let i = 0; i < verdict.wouldDeny.length; i++) this.#add(verdict.wouldDeny[i], caller, address, subject, wallMs);
	}

	/** The rules that would have refused somebody, the most frequent first. */
	list(): DryRunCount[] {
		const counts = [...this.#rows.values()].map(({ rule, total, callers }) => ({
			rule: rule?.name,
			place: rule?.place,
			total,
			callers: callers.list(),
		}));
		return counts.sort((a, b) => b.total - a.total);
	}

	#add(
		rule: AuthorizationRule | undefined,
		caller: string,
		address: string,
		{ method, path }: Pick<AuthorizationSubject, "method" | "path">,
		wallMs: number,
	): void {
		// No rule is named "".
		const name = rule?.name ?? "";
		let row = this.#rows.get(name);
		if (row === undefined) {
			row = { rule, total: 0, callers: new TopCallers(this.#capacity) };
			this.#rows.set(name, row);
		}
		row.total++;
		row.callers.add(caller, address, method, path, wallMs);
	}
}

/** All of a rule but where it stands. */
function meaning({ place: _, headers, ...rest }: AuthorizationRule): string {
	return JSON.stringify([rest, [...headers]]);
}
