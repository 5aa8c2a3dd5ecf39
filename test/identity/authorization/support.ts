/** Rules and requests for the tests of authorization, written as in a policy. */
import assert from "node:assert/strict";
import type { AuthorizationSubject } from "../../../src/identity/authorization/subject.ts";
import type { AuthorizationPolicy, AuthorizationRule } from "../../../src/policy/authorization-policy.ts";
import { parseCaller, parseRulePath } from "../../../src/policy/authorization-values.ts";
import { isRefusal, type Refusal } from "../../../src/policy/fault.ts";
import type { FieldMatch } from "../../../src/policy/traffic-policy.ts";

export interface RuleSpec {
	name?: string;
	action?: AuthorizationRule["action"];
	dryRun?: boolean;
	from?: readonly string[];
	methods?: readonly string[];
	paths?: readonly string[];
	headers?: Readonly<Record<string, string | FieldMatch>>;
	ports?: readonly number[];
}

export function rule(spec: RuleSpec, order = 0): AuthorizationRule {
	const { name = `r${order}`, action = "allow", dryRun = false, from = [], methods = [], paths = [], headers = {}, ports = [] } = spec;
	const fields = Object.entries(headers).map(([key, match]): [string, FieldMatch] => [
		key,
		typeof match === "string" ? { kind: "exact", value: match } : match,
	]);
	return {
		place: { file: "test.yaml", line: 10 + order, column: 9 },
		name,
		action,
		dryRun,
		from: from.map((text) => good(parseCaller(text))),
		methods,
		paths: paths.map((text) => good(parseRulePath(text))),
		headers: new Map(fields),
		ports,
	};
}

/** With the defaults that a policy has where it says none. */
export function policy(specs: readonly RuleSpec[], written?: "allow" | "deny"): AuthorizationPolicy {
	const rules = specs.map(rule);
	const allows = (dryRuns: boolean) => rules.some(({ action, dryRun }) => action === "allow" && (dryRuns || !dryRun));
	return {
		place: { file: "test.yaml", line: 9, column: 3 },
		default: written ?? (allows(false) ? "deny" : "allow"),
		dryRunDefault: written ?? (allows(true) ? "deny" : "allow"),
		rules,
	};
}

export function request(
	method = "GET",
	path = "/",
	headers: Readonly<Record<string, string | readonly string[]>> = {},
	port = 8080,
): AuthorizationSubject {
	const aliases = (name: string) => Object.keys(headers).filter((own) => own !== name && own.replaceAll("_", "-") === name);
	return {
		method,
		path,
		port,
		headerLine: (name, index) => [headers[name] ?? []].flat()[index],
		aliasLine: (name, index) => aliases(name).flatMap((own) => headers[own] ?? [])[index],
	};
}

export function id(service: string, trustDomain = "mesh.local"): string {
	return `spiffe://${trustDomain}/${service}`;
}

export function good<T>(value: T | Refusal): T {
	assert.ok(!isRefusal(value), JSON.stringify(value));
	return value;
}
