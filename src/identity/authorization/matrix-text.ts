/** The matrix as a person reads it in a terminal: one row for each caller and service that is not simply all or nothing, below a table. */
import type { AuthorizationRule } from "../../policy/authorization-policy.ts";
import { placeText } from "../../policy/place-text.ts";
import type { Matrix, MatrixCell } from "./matrix.ts";

/**
 * A column for each service, `yes`, `some` or `no` in each cell, with `->` and what it would be if the dry runs were none; then the rules
 * behind each cell that is conditional or being tried. Ends with a newline.
 */
export function matrixText({ callers, services, cells }: Matrix): string {
	const table = [["caller", ...services.map(({ service }) => service)]];
	const notes: string[] = [];
	callers.forEach((caller, row) => {
		const name = caller === "" ? "unauthenticated" : caller;
		const line = cells[row] ?? [];
		table.push([name, ...line.map(cellText)]);
		line.forEach((cell, column) => {
			if (cell.access !== "some" && cell.dryRunAccess === cell.access) return;
			notes.push(`${name} -> ${services[column]?.service}: ${cellText(cell)}`, ...cell.rules.map((rule) => `  ${ruleText(rule)}`));
		});
	});
	const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
	const rows = table.map((row) =>
		row
			.map((text, column) => text.padEnd(widths[column] ?? 0))
			.join("  ")
			.trimEnd(),
	);
	return `${[...rows, ...(notes.length === 0 ? [] : ["", ...notes])].join("\n")}\n`;
}

const WORDS = { all: "yes", some: "some", none: "no" } as const;

function cellText({ access, dryRunAccess }: MatrixCell): string {
	return access === dryRunAccess ? WORDS[access] : `${WORDS[access]} -> ${WORDS[dryRunAccess]}`;
}

function ruleText({ action, dryRun, name, methods, paths, headers, ports, place }: AuthorizationRule): string {
	const conditions = [
		methods.join("|"),
		paths.map(({ pattern }) => pattern).join(" "),
		...[...headers.keys()].map((header) => `header ${header}`),
		ports.length === 0 ? "" : `port ${ports.join("|")}`,
	].filter((text) => text !== "");
	const what = conditions.length === 0 ? "everything" : conditions.join(" ");
	return `${action}${dryRun ? " (dry run)" : ""} ${what}  ${name}  ${placeText(place)}`;
}
