/** Whether one rule fits one request, and if not, why: the predicates, of which nobody else has a second set. */
import type { AuthorizationRule } from "../../policy/authorization-policy.ts";
import { PathPattern } from "../../policy/path-pattern.ts";
import type { FieldMatch } from "../../policy/traffic-policy.ts";
import { CallerPattern } from "./caller-pattern.ts";
import type { AuthorizationSubject } from "./subject.ts";

/** What a rule does with what it fits. Plain numbers, for the path of requests. */
export const ALLOW = 0;
export const DENY = 1;
export const AUDIT = 2;
export const DRY_ALLOW = 3;
export const DRY_DENY = 4;
/** An audit that is a dry run: tells nobody. */
export const NOTHING = 5;

const EFFECTS = { allow: [ALLOW, DRY_ALLOW], deny: [DENY, DRY_DENY], audit: [AUDIT, NOTHING] } as const;

/** The first condition that does not hold. */
export type Obstacle =
	| { readonly kind: "from" | "port" | "method" | "path" }
	| { readonly kind: "header"; readonly name: string; readonly expected: FieldMatch; readonly there: boolean };

export class CompiledRule {
	readonly policy: AuthorizationRule;
	readonly order: number;
	readonly effect: number;
	readonly callers: readonly CallerPattern[];
	/** Whether it asks about more than the connection. */
	readonly asksRequest: boolean;
	/** The reading that it was last looked at in (rule-scan.ts): it may stand in several places of the index. */
	lookedAt = 0;
	readonly #methods: readonly string[];
	readonly #paths: readonly PathPattern[];
	readonly #ports: readonly number[];
	readonly #headerNames: readonly string[];
	readonly #headerMatches: readonly FieldMatch[];

	constructor(policy: AuthorizationRule, order: number, trustDomain: string) {
		this.policy = policy;
		this.order = order;
		this.effect = EFFECTS[policy.action][policy.dryRun ? 1 : 0];
		this.callers = policy.from.map((match) => new CallerPattern(match, trustDomain));
		this.#methods = policy.methods;
		this.#paths = policy.paths.map((match) => new PathPattern(match));
		this.#ports = policy.ports;
		this.#headerNames = [...policy.headers.keys()];
		this.#headerMatches = [...policy.headers.values()];
		this.asksRequest = policy.methods.length + policy.paths.length + policy.headers.size !== 0;
	}

	/** What every path that fits begins with; `""` where that may be anything. Each once. */
	get anchors(): readonly string[] {
		return this.#paths.length === 0 ? [""] : [...new Set(this.#paths.map(({ anchor }) => anchor))];
	}

	/** Whether a request of one of its callers fits. */
	fits(subject: AuthorizationSubject, path: string): boolean {
		return (
			this.fitsPort(subject.port) &&
			(this.#methods.length === 0 || this.#methodFits(subject.method)) &&
			this.#pathFits(path) &&
			(this.#headerNames.length === 0 || this.#differingHeader(subject) === -1)
		);
	}

	fitsPort(port: number): boolean {
		return this.#ports.length === 0 || this.#ports.includes(port);
	}

	/** The same, one by one; `id` as in `CallerPattern.matches`. */
	obstacle(id: string, subject: AuthorizationSubject, path: string): Obstacle | undefined {
		if (this.callers.length !== 0 && !this.callers.some((caller) => caller.matches(id))) return { kind: "from" };
		if (!this.fitsPort(subject.port)) return { kind: "port" };
		if (this.#methods.length !== 0 && !this.#methodFits(subject.method)) return { kind: "method" };
		if (!this.#pathFits(path)) return { kind: "path" };
		const at = this.#differingHeader(subject);
		if (at === -1) return undefined;
		const name = this.#headerNames[at] as string;
		return { kind: "header", name, expected: this.#headerMatches[at] as FieldMatch, there: subject.headerLine(name, 0) !== undefined };
	}

	/** Many services take `delete` for DELETE (ASP.NET, Django, Symfony): it gets nobody past a rule that refuses, nor in by one that allows. */
	#methodFits(method: string): boolean {
		if (this.#methods.includes(method)) return true;
		return !this.#permits && hasSmallLetter(method) && this.#methods.includes(method.toUpperCase());
	}

	#pathFits(path: string): boolean {
		const paths = this.#paths;
		for (let i = 0; i < paths.length; i++) if ((paths[i] as PathPattern).matches(path)) return true;
		return paths.length === 0;
	}

	get #permits(): boolean {
		return this.effect === ALLOW || this.effect === DRY_ALLOW;
	}

	/** Position of the first condition that does not hold, or -1. */
	#differingHeader(subject: AuthorizationSubject): number {
		const permits = this.#permits;
		for (let i = 0; i < this.#headerNames.length; i++) {
			const name = this.#headerNames[i] as string;
			const match = this.#headerMatches[i] as FieldMatch;
			if (!(permits ? everyLineHolds(match, name, subject) : someValueHolds(match, name, subject))) return i;
		}
		return -1;
	}
}

function hasSmallLetter(text: string): boolean {
	for (let i = 0; i < text.length; i++) {
		const c = text.charCodeAt(i);
		if (c >= 0x61 && c <= 0x7a) return true;
	}
	return false;
}

/** A field that came twice must not be let in for the line that the service does not read, nor for a name that it does not know. */
function everyLineHolds(match: FieldMatch, name: string, subject: AuthorizationSubject): boolean {
	let line = subject.headerLine(name, 0);
	if (match.kind === "absent") return line === undefined && subject.aliasLine(name, 0) === undefined;
	if (line === undefined) return false;
	if (!("value" in match)) return true;
	for (let i = 1; line !== undefined; i++) {
		if (!textHolds(match, line)) return false;
		line = subject.headerLine(name, i);
	}
	line = subject.aliasLine(name, 0);
	for (let i = 1; line !== undefined; i++) {
		if (!textHolds(match, line)) return false;
		line = subject.aliasLine(name, i);
	}
	return true;
}

/** Nor may it hide a value that is refused; lines are also joined with commas on their way (RFC 9110 section 5.3). */
function someValueHolds(match: FieldMatch, name: string, subject: AuthorizationSubject): boolean {
	let line = subject.headerLine(name, 0);
	if (match.kind === "absent") return line === undefined;
	if (!("value" in match)) return line !== undefined || subject.aliasLine(name, 0) !== undefined;
	for (let i = 1; line !== undefined; i++) {
		if (someHolds(match, line)) return true;
		line = subject.headerLine(name, i);
	}
	line = subject.aliasLine(name, 0);
	for (let i = 1; line !== undefined; i++) {
		if (someHolds(match, line)) return true;
		line = subject.aliasLine(name, i);
	}
	return false;
}

function someHolds(match: Extract<FieldMatch, { readonly value: string }>, line: string): boolean {
	return textHolds(match, line) || (line.includes(",") && line.split(",").some((value) => textHolds(match, value.trim())));
}

function textHolds(match: Extract<FieldMatch, { readonly value: string }>, text: string): boolean {
	return match.kind === "exact" ? text === match.value : text.startsWith(match.value);
}
