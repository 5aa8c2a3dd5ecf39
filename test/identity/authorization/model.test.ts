import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import type { AuthorizationSubject } from "../../../src/identity/authorization/subject.ts";
import type { AuthorizationPolicy, AuthorizationRule } from "../../../src/policy/authorization-policy.ts";
import { callerText } from "../../../src/policy/authorization-values.ts";
import { pathReadings } from "../../../src/policy/path-readings.ts";
import { id, policy, type RuleSpec, request } from "./support.ts";

// The reference: every rule, every time, by regular expressions.

function callerFits(text: string, caller: string): boolean {
	if (text === "unauthenticated") return caller === "";
	const full = text.startsWith("spiffe://") ? text : `spiffe://mesh.local/${text}`;
	const pattern = full
		.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
		.replace(/\\\*$/, ".*")
		.replace(/\\\*/, "[^/]*");
	return new RegExp(`^${pattern}$`).test(caller);
}

function pathFits(pattern: string, path: string): boolean {
	const segments = pattern.slice(1).split("/");
	const source = segments.map((s) => (s === "**" ? "(?:/[^/]*)*" : `/${s.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*")}`));
	return new RegExp(`^${source.join("")}$`).test(path) && path.startsWith("/");
}

function ruleFits(rule: AuthorizationRule, caller: string, subject: AuthorizationSubject, path: string): boolean {
	if (rule.from.length > 0 && !rule.from.some((from) => callerFits(callerText(from), caller))) return false;
	if (rule.methods.length > 0 && !rule.methods.includes(subject.method)) return false;
	if (rule.paths.length > 0 && !rule.paths.some(({ pattern }) => pathFits(pattern, path))) return false;
	if (rule.ports.length > 0 && !rule.ports.includes(subject.port)) return false;
	return [...rule.headers].every(([name, match]) => {
		const lines: string[] = [];
		for (let i = 0; subject.headerLine(name, i) !== undefined; i++) lines.push(subject.headerLine(name, i) ?? "");
		if (!("value" in match)) return lines.length > 0 === (match.kind === "present");
		const holds = (text: string) => (match.kind === "exact" ? text === match.value : text.startsWith(match.value));
		if (rule.action === "allow") return lines.length > 0 && lines.every(holds);
		return lines.flatMap((line) => [line, ...line.split(",").map((part) => part.trim())]).some(holds);
	});
}

interface Expected {
	readonly allowed: boolean;
	readonly rule: string | undefined;
}

function judge(rules: readonly AuthorizationRule[], byDefault: "allow" | "deny", caller: string, subject: AuthorizationSubject): Expected {
	const readings = pathReadings(subject.path).map((path): Expected => {
		const deny = rules.find((rule) => rule.action === "deny" && ruleFits(rule, caller, subject, path));
		if (deny !== undefined) return { allowed: false, rule: deny.name };
		const allow = rules.find((rule) => rule.action === "allow" && ruleFits(rule, caller, subject, path));
		return { allowed: allow !== undefined || byDefault === "allow", rule: allow?.name };
	});
	const refused = readings.find(({ allowed }) => !allowed);
	return refused ?? { allowed: true, rule: readings.find(({ rule }) => rule !== undefined)?.rule };
}

function expectedOf({ rules, default: byDefault, dryRunDefault }: AuthorizationPolicy, caller: string, subject: AuthorizationSubject) {
	const fitting = (rule: AuthorizationRule) => pathReadings(subject.path).some((path) => ruleFits(rule, caller, subject, path));
	const live = judge(
		rules.filter(({ dryRun }) => !dryRun),
		byDefault,
		caller,
		subject,
	);
	const tried = judge(rules, dryRunDefault, caller, subject);
	const wouldDeny = live.allowed ? rules.filter((rule) => rule.dryRun && rule.action === "deny" && fitting(rule)) : [];
	return {
		...live,
		audited: rules.filter((rule) => !rule.dryRun && rule.action === "audit" && fitting(rule)).map(({ name }) => name),
		wouldDeny: wouldDeny.map(({ name }) => name),
		wouldDenyByDefault: live.allowed && !tried.allowed && wouldDeny.length === 0,
		wouldAllow: !live.allowed && tried.allowed,
	};
}

const CALLERS = ["", id("a"), id("ab"), id("b"), id("abc"), id("a", "other.domain"), id("ns/a/b", "other.domain"), id("x", "third")];
const FROM = [
	"a",
	"b",
	"ab",
	"a*",
	"*b",
	"a*c",
	"*",
	"unauthenticated",
	"spiffe://other.domain/*",
	"spiffe://other.domain/a",
	"spiffe://other.domain/ns/*/b",
	"spiffe://third/x",
];
const PATHS = [
	"/",
	"/a",
	"/a/",
	"/a/b",
	"/a/b/c",
	"/b",
	"/b/x.json",
	"/ab",
	"*",
	"/a%2Fb",
	"/a;v=1/b",
	"/a/b%3bx",
	"/%c3%a9",
	"/a;x/b%3By/c",
	"/a%c0%afb",
];
const PATTERNS = ["/", "/a", "/a/", "/a/b", "/a/**", "/**", "/a/*", "/*/b", "/**/b", "/b/*.json", "/%C3%A9", "/a*", "/a/b/**"];
const METHODS = ["GET", "POST", "PUT"];
const VALUES = ["1", "12", "2", "1, 2", ""];

function pick<T>(rng: Rng, from: readonly T[]): T {
	return from[Math.floor(rng() * from.length)] as T;
}

function some<T>(rng: Rng, from: readonly T[], odds: number): T[] {
	if (rng() >= odds) return [];
	return Array.from({ length: 1 + Math.floor(rng() * 3) }, () => pick(rng, from));
}

function randomRule(rng: Rng): RuleSpec {
	const headers: RuleSpec["headers"] = Object.fromEntries(
		some(rng, ["x", "y"], 0.15).map((name) => [
			name,
			pick(rng, [{ kind: "exact", value: "1" }, { kind: "prefix", value: "1" }, { kind: "present" }, { kind: "absent" }]),
		]),
	);
	return {
		action: pick(rng, ["allow", "allow", "deny", "audit"]),
		dryRun: rng() < 0.25,
		from: some(rng, FROM, 0.7),
		methods: some(rng, METHODS, 0.4),
		paths: some(rng, PATTERNS, 0.7),
		ports: some(rng, [1, 2], 0.1),
		headers,
	};
}

function randomRequest(rng: Rng): AuthorizationSubject {
	const lines = () => Array.from({ length: Math.floor(rng() * 3) }, () => pick(rng, VALUES));
	return request(pick(rng, METHODS), pick(rng, PATHS), { x: lines(), y: lines() }, pick(rng, [1, 2]));
}

test("100,000 random rule sets decide as a reference that tries every rule", () => {
	const rng = seededRng(55);
	const seen = { allowed: 0, refused: 0, byRule: 0, audited: 0, wouldDeny: 0, wouldDenyByDefault: 0, wouldAllow: 0 };
	for (let i = 0; i < 100_000; i++) {
		const specs = Array.from({ length: Math.floor(rng() * 8) }, () => randomRule(rng));
		const given = policy(specs, pick(rng, [undefined, undefined, "allow", "deny"] as const));
		const authorizer = new Authorizer(given, "mesh.local");
		for (let asked = 0; asked < 2; asked++) {
			const caller = pick(rng, CALLERS);
			const subject = randomRequest(rng);
			const verdict = authorizer.meet(caller).decide(subject);
			const actual = {
				allowed: verdict.allowed,
				rule: verdict.rule?.name,
				audited: verdict.audited.map(({ name }) => name).sort(),
				wouldDeny: verdict.wouldDeny.map(({ name }) => name).sort(),
				wouldDenyByDefault: verdict.wouldDenyByDefault,
				wouldAllow: verdict.wouldAllow,
			};
			const expected = expectedOf(given, caller, subject);
			assert.deepEqual(actual, expected, JSON.stringify({ specs, caller, subject, default: given.default }));
			if (actual.allowed) seen.allowed++;
			else seen.refused++;
			if (actual.rule !== undefined) seen.byRule++;
			if (actual.audited.length !== 0) seen.audited++;
			if (actual.wouldDeny.length !== 0) seen.wouldDeny++;
			if (actual.wouldDenyByDefault) seen.wouldDenyByDefault++;
			if (actual.wouldAllow) seen.wouldAllow++;
		}
	}
	for (const [what, count] of Object.entries(seen)) assert.ok(count > 2_000, `${what}: ${count}`);
});
