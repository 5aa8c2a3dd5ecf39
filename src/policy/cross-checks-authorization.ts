/** What no single key of authorization can tell: rules that never act, or that leave nothing to the others. */
import type { Report } from "./cross-checks.ts";
import { list, type Mapping, mapping, text, texts } from "./plain.ts";
import type { Path, Plain } from "./tree.ts";

// Each caller of a rule is indexed with each of its paths; more would hold up the event loop.
const ENTRIES_MAX = 200_000;
// What the sidecar itself says to the application about the caller; from the caller it is dropped, and may be a lie.
const OURS = /^(?:x[-_]nexus[-_].*|x[-_]forwarded[-_]client[-_]cert)$/i;
const CONDITIONS = ["from", "methods", "paths", "headers", "ports"];

export function checkAuthorization(authorization: Mapping | undefined, path: Path, report: Report): void {
	if (authorization === undefined) return;
	const rules = list(authorization.rules);
	const seen = new Set<string>();
	let entries = 0;
	rules.forEach((item, i) => {
		const rule = mapping(item) ?? {};
		const at = [...path, "rules", i];
		const name = text(rule.name);
		if (name !== undefined && seen.has(name))
			report([...at, "name"], "value", `a rule named \`${name}\` stands above already`, "names of rules are unique");
		if (name !== undefined) seen.add(name);
		entries += Math.max(1, texts(rule.from).length) * Math.max(1, texts(rule.paths).length);
		checkTwice(rule, "from", at, report);
		checkTwice(rule, "paths", at, report);
		for (const header of Object.keys(mapping(rule.headers) ?? {})) {
			if (!OURS.test(header)) continue;
			report([...at, "headers", header], "key", `\`${header}\` is what a caller says about itself`, "who has proven to be whom is asked by `from`");
		}
		const dryRun = rule.dryRun === true || rule.dryRun === "true";
		if (rule.action === "audit" && dryRun) {
			report([...at, "dryRun"], "key", "`dryRun` does not act with `action: audit`", "an audit decides nothing anyway: remove it");
		}
		if (rule.action === "allow" && authorization.default === "allow") {
			report(
				[...at, "action"],
				"value",
				"`allow` does not act with `default: allow`",
				"whatever no rule refuses is allowed: remove the rule, or the default",
			);
		}
		if (rule.action === "deny" && !dryRun && rules.length > 1 && CONDITIONS.every((key) => rule[key] === undefined)) {
			report(
				at,
				"key",
				"the rule refuses everything, so no other rule acts",
				`give it one of ${CONDITIONS.join(", ")}, or remove it and write \`default: deny\``,
			);
		}
	});
	if (entries > ENTRIES_MAX) {
		const hint = `at most ${ENTRIES_MAX} combinations of a caller and a path over all rules; use wildcards`;
		report([...path, "rules"], "value", "the rules name too many callers and paths", hint);
	}
}

function checkTwice(rule: Mapping, key: string, path: Path, report: Report): void {
	const given: Plain | undefined = rule[key];
	const seen = new Set<string>();
	list(given).forEach((item, i) => {
		const value = text(item);
		if (value === undefined) return;
		if (seen.has(value)) report([...path, key, i], "value", `\`${value}\` stands here twice`, "remove one");
		seen.add(value);
	});
}
