/** Runs the rules that can fit over one request. No allocation, unless a path can be read in several ways, or a rule must be told about. */
import type { AuthorizationPolicy, AuthorizationRule } from "../../policy/authorization-policy.ts";
import { pathReadings, readsOneWay } from "../../policy/path-readings.ts";
import { ALLOW, AUDIT, type CompiledRule, DENY, DRY_ALLOW, DRY_DENY } from "./compiled-rule.ts";
import { hashStep, isSegmentEnd, type RuleIndex } from "./rule-index.ts";
import type { AuthorizationSubject } from "./subject.ts";
import { Verdict } from "./verdict.ts";

export class RuleScan {
	readonly #verdict = new Verdict();
	readonly #allowByDefault: boolean;
	readonly #dryAllowByDefault: boolean;
	/** Counts readings; never wraps, so that no rule seems to have been looked at. */
	#reading = 0;
	// What the reading at hand has found: the first in file order.
	#allow: CompiledRule | undefined;
	#deny: CompiledRule | undefined;
	#dryAllow = false;
	#dryDeny = false;
	/** Whether each reading would be allowed if the dry runs were none. */
	#dryAllowed = true;

	constructor(policy: AuthorizationPolicy) {
		this.#allowByDefault = policy.default === "allow";
		this.#dryAllowByDefault = policy.dryRunDefault === "allow";
	}

	/**
	 * `indexes`: those of the caller. Where servers may read the path in several ways, each reading must be allowed, and a rule that
	 * refuses or audits one of them has met the request.
	 */
	decide(indexes: readonly RuleIndex[], subject: AuthorizationSubject): Verdict {
		this.#begin();
		const { path } = subject;
		if (readsOneWay(path)) this.#read(indexes, subject, path);
		else for (const reading of pathReadings(path)) this.#read(indexes, subject, reading);
		return this.#end();
	}

	/** Where there is no request to look at, what asks for one cannot allow; what would refuse some requests refuses the connection. */
	decideConnection(indexes: readonly RuleIndex[], port: number): Verdict {
		this.#begin();
		this.#beginReading();
		for (const { all } of indexes) {
			for (const rule of all) {
				const permits = rule.effect === ALLOW || rule.effect === DRY_ALLOW;
				if (this.#isNew(rule) && rule.fitsPort(port) && !(permits && rule.asksRequest)) this.#take(rule);
			}
		}
		this.#endReading();
		return this.#end();
	}

	#begin(): void {
		const verdict = this.#verdict;
		verdict.allowed = true;
		verdict.rule = undefined;
		if (verdict.audited.length !== 0) verdict.audited.length = 0;
		if (verdict.wouldDeny.length !== 0) verdict.wouldDeny.length = 0;
		this.#dryAllowed = true;
	}

	#read(indexes: readonly RuleIndex[], subject: AuthorizationSubject, path: string): void {
		this.#beginReading();
		let anchorMax = 0;
		for (let i = 0; i < indexes.length; i++) {
			const index = indexes[i] as RuleIndex;
			if (index.anywhere.length !== 0) this.#look(index.anywhere, subject, path);
			if (index.longestAnchor > anchorMax) anchorMax = index.longestAnchor;
		}
		const end = Math.min(path.length, anchorMax);
		let hash = 0;
		for (let at = 0; at < end; ) {
			hash = hashStep(hash, path.charCodeAt(at));
			at++;
			if (!isSegmentEnd(path, at)) continue;
			for (let i = 0; i < indexes.length; i++) {
				const rules = (indexes[i] as RuleIndex).at(hash);
				if (rules !== undefined) this.#look(rules, subject, path);
			}
		}
		this.#endReading();
	}

	#beginReading(): void {
		this.#reading++;
		this.#allow = undefined;
		this.#deny = undefined;
		this.#dryAllow = false;
		this.#dryDeny = false;
	}

	#look(rules: readonly CompiledRule[], subject: AuthorizationSubject, path: string): void {
		for (let i = 0; i < rules.length; i++) {
			const rule = rules[i] as CompiledRule;
			if (this.#isNew(rule) && this.#matters(rule) && rule.fits(subject, path)) this.#take(rule);
		}
	}

	#isNew(rule: CompiledRule): boolean {
		if (rule.lookedAt === this.#reading) return false;
		rule.lookedAt = this.#reading;
		return true;
	}

	/** Whether it could change what has been found so far. */
	#matters(rule: CompiledRule): boolean {
		switch (rule.effect) {
			case ALLOW:
				return this.#allow === undefined || rule.order < this.#allow.order;
			case DENY:
				return this.#deny === undefined || rule.order < this.#deny.order;
			case DRY_ALLOW:
				return !this.#dryAllow;
			default:
				return true;
		}
	}

	#take(rule: CompiledRule): void {
		switch (rule.effect) {
			case ALLOW:
				if (this.#matters(rule)) this.#allow = rule;
				break;
			case DENY:
				if (this.#matters(rule)) this.#deny = rule;
				break;
			case AUDIT:
				addOnce(this.#verdict.audited, rule.policy);
				break;
			case DRY_ALLOW:
				this.#dryAllow = true;
				break;
			case DRY_DENY:
				this.#dryDeny = true;
				addOnce(this.#verdict.wouldDeny, rule.policy);
				break;
		}
	}

	/** The worst reading counts; of several that are refused, the first tells the rule. */
	#endReading(): void {
		const verdict = this.#verdict;
		const allow = this.#allow;
		const deny = this.#deny;
		if (deny !== undefined || (allow === undefined && !this.#allowByDefault)) {
			if (verdict.allowed) verdict.rule = deny?.policy;
			verdict.allowed = false;
		} else if (verdict.allowed) verdict.rule ??= allow?.policy;
		const dryAllowed = deny === undefined && !this.#dryDeny && (allow !== undefined || this.#dryAllow || this.#dryAllowByDefault);
		if (!dryAllowed) this.#dryAllowed = false;
	}

	#end(): Verdict {
		const verdict = this.#verdict;
		if (!verdict.allowed && verdict.wouldDeny.length !== 0) verdict.wouldDeny.length = 0;
		verdict.wouldDenyByDefault = verdict.allowed && !this.#dryAllowed && verdict.wouldDeny.length === 0;
		verdict.wouldAllow = !verdict.allowed && this.#dryAllowed;
		return verdict;
	}
}

function addOnce(rules: AuthorizationRule[], rule: AuthorizationRule): void {
	if (!rules.includes(rule)) rules.push(rule);
}
