/** Who may call whom, over the policies of several services. Pure; knows no request, so conditions on one are told, not decided. */
import type { AuthorizationPolicy, AuthorizationRule } from "../../policy/authorization-policy.ts";
import { callerText } from "../../policy/authorization-values.ts";
import { CallerPattern } from "./caller-pattern.ts";

export interface MatrixService {
	readonly service: string;
	readonly trustDomain: string;
	/** Undefined: the service asks nobody for anything. */
	readonly authorization: AuthorizationPolicy | undefined;
	/** Whether nobody is let in who is not authenticated, whatever the rules say. */
	readonly strict: boolean;
}

/** `some`: it depends on method, path, header or port. */
export type Access = "all" | "some" | "none";

export interface MatrixCell {
	readonly access: Access;
	/** The same if the dry runs were none. */
	readonly dryRunAccess: Access;
	/** The rules that act on this caller, in file order, without audits. */
	readonly rules: readonly AuthorizationRule[];
}

export interface Matrix {
	/** SPIFFE ids, patterns of other trust domains as they are written, and "" for unauthenticated callers: a row each. */
	readonly callers: readonly string[];
	/** A column each. */
	readonly services: readonly MatrixService[];
	/** By caller, then by service. */
	readonly cells: readonly (readonly MatrixCell[])[];
}

/** The callers are the services themselves, `others` (SPIFFE ids), whomever else a rule names, and the unauthenticated. */
export function authorizationMatrix(services: readonly MatrixService[], others: readonly string[] = []): Matrix {
	const callers = new Set([...services.map(({ service, trustDomain }) => `spiffe://${trustDomain}/${service}`), ...others]);
	const compiled = services.map((service) => new Column(service));
	for (const { named } of compiled) for (const id of named) callers.add(id);
	const rows = ["", ...[...callers].sort()];
	return { callers: rows, services, cells: rows.map((caller) => compiled.map((column) => column.cell(caller))) };
}

class Column {
	/** Whom the rules name, less the wildcards over services of this mesh, which have rows of their own. */
	readonly named: readonly string[];
	readonly #policy: AuthorizationPolicy | undefined;
	readonly #strict: boolean;
	readonly #rules: readonly { readonly rule: AuthorizationRule; readonly callers: readonly CallerPattern[] }[];

	constructor({ authorization, trustDomain, strict }: MatrixService) {
		const rules = authorization?.rules ?? [];
		this.#policy = authorization;
		this.#strict = strict;
		this.#rules = rules
			.filter(({ action }) => action !== "audit")
			.map((rule) => ({ rule, callers: rule.from.map((match) => new CallerPattern(match, trustDomain)) }));
		this.named = rules.flatMap(({ from }) =>
			from.flatMap((match) => {
				if (match.kind === "unauthenticated") return [];
				if (match.trustDomain === undefined || match.trustDomain === trustDomain) {
					return match.name.includes("*") ? [] : [`spiffe://${trustDomain}/${match.name}`];
				}
				// As a caller, a pattern stands for whomever it fits.
				return [callerText(match)];
			}),
		);
	}

	cell(caller: string): MatrixCell {
		if (caller === "" && this.#strict) return { access: "none", dryRunAccess: "none", rules: [] };
		if (this.#policy === undefined) return { access: "all", dryRunAccess: "all", rules: [] };
		const acting = this.#rules.filter(({ callers }) => callers.length === 0 || callers.some((pattern) => pattern.matches(caller)));
		const rules = acting.map(({ rule }) => rule);
		const live = rules.filter(({ dryRun }) => !dryRun);
		const { default: byDefault, dryRunDefault } = this.#policy;
		return { access: accessOf(live, byDefault), dryRunAccess: accessOf(rules, dryRunDefault), rules };
	}
}

function accessOf(rules: readonly AuthorizationRule[], byDefault: "allow" | "deny"): Access {
	const denies = rules.filter(({ action }) => action === "deny");
	const allows = rules.filter(({ action }) => action === "allow");
	if (denies.some(isUnconditional)) return "none";
	if (byDefault === "deny" && allows.length === 0) return "none";
	return denies.length === 0 && (byDefault === "allow" || allows.some(isUnconditional)) ? "all" : "some";
}

function isUnconditional({ methods, paths, headers, ports }: AuthorizationRule): boolean {
	const everyPath = paths.length === 0 || paths.some(({ pattern }) => pattern === "/**");
	return everyPath && methods.length + headers.size + ports.length === 0;
}
