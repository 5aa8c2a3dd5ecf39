/** Who may do what, compiled from the policy: asked once per connection who the caller is, then per request. */
import type { AuthorizationPolicy } from "../../policy/authorization-policy.ts";
import type { CallerPattern } from "./caller-pattern.ts";
import { CompiledRule, NOTHING } from "./compiled-rule.ts";
import { RuleIndex } from "./rule-index.ts";
import { RuleScan } from "./rule-scan.ts";
import type { AuthorizationSubject } from "./subject.ts";
import type { Verdict } from "./verdict.ts";

/** Built when the policy changes. What it costs to decide does not depend on rules about other callers or other paths. */
export class Authorizer {
	readonly policy: AuthorizationPolicy;
	/** In file order. */
	readonly rules: readonly CompiledRule[];
	readonly #scan: RuleScan;
	readonly #anybody = new RuleIndex();
	readonly #exact = new Map<string, RuleIndex>();
	/** By what stands before the asterisk. */
	readonly #wildcards = new Map<string, { readonly caller: CallerPattern; readonly index: RuleIndex }[]>();
	/** Each once: the lengths of the keys of `#wildcards`. */
	readonly #lengths: readonly number[];

	/** `trustDomain` of this mesh: names of callers without a domain belong to it. */
	constructor(policy: AuthorizationPolicy, trustDomain: string) {
		this.policy = policy;
		this.rules = policy.rules.map((rule, order) => new CompiledRule(rule, order, trustDomain));
		for (const rule of this.rules) {
			if (rule.effect === NOTHING) continue;
			if (rule.callers.length === 0) this.#anybody.add(rule);
			for (const caller of rule.callers) this.#indexOf(caller).add(rule);
		}
		this.#lengths = [...new Set([...this.#wildcards.keys()].map(({ length }) => length))];
		this.#scan = new RuleScan(policy);
	}

	/** `id`: the verified SPIFFE id of the peer, "" where there is none. Once per connection and policy; the answer may be kept with it. */
	meet(id: string): CallerRules {
		const indexes: RuleIndex[] = [];
		const exact = this.#exact.get(id);
		if (exact !== undefined) indexes.push(exact);
		for (const length of this.#lengths) {
			if (length > id.length) continue;
			for (const { caller, index } of this.#wildcards.get(id.slice(0, length)) ?? []) if (caller.matches(id)) indexes.push(index);
		}
		if (this.#anybody.all.length !== 0) indexes.push(this.#anybody);
		return new CallerRules(id, indexes, this.#scan);
	}

	#indexOf(caller: CallerPattern): RuleIndex {
		const { before, after } = caller;
		if (after === undefined) {
			const index = this.#exact.get(before) ?? new RuleIndex();
			this.#exact.set(before, index);
			return index;
		}
		const alike = this.#wildcards.get(before) ?? [];
		this.#wildcards.set(before, alike);
		const found = alike.find((one) => one.caller.after === after);
		if (found !== undefined) return found.index;
		const index = new RuleIndex();
		alike.push({ caller, index });
		return index;
	}
}

/** The rules that speak about one caller. */
export class CallerRules {
	/** As given to `meet`. */
	readonly id: string;
	readonly #indexes: readonly RuleIndex[];
	readonly #scan: RuleScan;

	constructor(id: string, indexes: readonly RuleIndex[], scan: RuleScan) {
		this.id = id;
		this.#indexes = indexes;
		this.#scan = scan;
	}

	/** Synchronous; the answer is valid until the next question to any caller's rules of the same authorizer. */
	decide(subject: AuthorizationSubject): Verdict {
		return this.#scan.decide(this.#indexes, subject);
	}

	/** For a connection that carries no requests that we read: TCP. `port`: where it arrived. */
	decideConnection(port: number): Verdict {
		return this.#scan.decideConnection(this.#indexes, port);
	}
}
