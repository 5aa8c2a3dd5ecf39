/** Puts the tables of a run into the marked section of a page, and touches nothing else of it. */
import { headline, tablesOf } from "./report.ts";
import type { Results } from "./results.ts";
import { markdownTable } from "./table.ts";

export const BEGIN = "<!-- results: begin (written by `npm run bench -- --docs`) -->";
export const END = "<!-- results: end -->";

/** `chart` is a path relative to the page. Throws where the page has lost its marks. */
export function withResults(page: string, results: Results, chart: string | undefined): string {
	const picture = chart === undefined ? [] : [`![CPU time per request by proxy](${chart})`, ""];
	return withSection(page, [...headline(results).map((line) => `- ${line}`), "", ...picture, ...tablesOf(results).map(markdownTable)].join("\n"));
}

/** The page with `section` between its marks. Throws where it has lost them. */
export function withSection(page: string, section: string): string {
	const begin = page.indexOf(BEGIN);
	const end = page.indexOf(END);
	if (begin < 0 || end < begin) throw new Error(`the page has no section between ${BEGIN} and ${END}`);
	return `${page.slice(0, begin + BEGIN.length)}\n\n${section}\n${page.slice(end)}`;
}
