/** Puts the tables of a run into the marked section of docs/benchmarks.md, and touches nothing else of it. */
import { headline, tablesOf } from "./report.ts";
import type { Results } from "./results.ts";
import { markdownTable } from "./table.ts";

export const BEGIN = "<!-- results: begin (written by `npm run bench -- --docs`) -->";
export const END = "<!-- results: end -->";

/** `chart` is a path relative to the page. Throws where the page has lost its marks. */
export function withResults(page: string, results: Results, chart: string | undefined): string {
	const begin = page.indexOf(BEGIN);
	const end = page.indexOf(END);
	if (begin < 0 || end < begin) throw new Error(`the page has no section between ${BEGIN} and ${END}`);
	const picture = chart === undefined ? [] : [`![CPU time per request by proxy](${chart})`, ""];
	const section = ["", ...headline(results).map((line) => `- ${line}`), "", ...picture, ...tablesOf(results).map(markdownTable)].join("\n");
	return `${page.slice(0, begin + BEGIN.length)}\n${section}\n${page.slice(end)}`;
}
