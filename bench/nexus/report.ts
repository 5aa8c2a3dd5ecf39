/** What is kept of the bench of Nexus, and the page that is made of it: each part with the hour and the load that it was measured under. */
import type { Machine } from "../machine.ts";
import { figure, markdownTable, type Table } from "../table.ts";
import { PARTS, type PartName } from "./options.ts";
import { budgetTable, type PartReport, type Verdict } from "./part.ts";

export interface MeasuredPart extends PartReport {
	readonly date: string;
	readonly machine: Machine;
	/** With their versions. */
	readonly contestants: readonly string[];
	/** Share of the machine's CPU time that others took meanwhile, 0 to 1. */
	readonly others: number;
	/** How often and how long it was measured. */
	readonly turns: string;
}

/** A part that was not measured is left out. */
export interface NexusResults {
	readonly format: 1;
	readonly parts: Partial<Readonly<Record<PartName, MeasuredPart>>>;
}

/** Above this figures and delays mean less. */
const QUIET_OTHERS_MAX = 0.05;

/** What was kept, with `parts` in the place of what was known of them. `kept`: JSON as written by `serialize`; empty for nothing. */
export function withParts(kept: string, parts: NexusResults["parts"]): NexusResults {
	const known = kept === "" ? { format: 1 as const, parts: {} } : (JSON.parse(kept) as NexusResults);
	if (known.format !== 1) throw new Error(`results of format ${String(known.format)} are not known here`);
	return { format: 1, parts: { ...known.parts, ...parts } };
}

export function serialize(results: NexusResults): string {
	return `${JSON.stringify(results, null, "\t")}\n`;
}

export function budgetsOf({ parts }: NexusResults): Table {
	return budgetTable(PARTS.flatMap((name) => parts[name]?.verdicts.map(measured) ?? []));
}

/** Under which circumstances, in a line. */
export function circumstances({ date, machine, others, turns }: MeasuredPart): string {
	const when = `${date.slice(0, 16).replace("T", " ")} UTC`;
	const busy = others > QUIET_OTHERS_MAX ? ": the machine was busy, so figures and delays mean less" : "";
	return `${when}, ${turns}; load average ${machine.loadAverage} at the start, others took ${figure(others * 100, 0)} % of the CPU time meanwhile${busy}`;
}

export function markdownSection(results: NexusResults): string {
	const lines: string[] = [];
	const found = PARTS.flatMap((name) => results.parts[name] ?? []);
	const last = found.toSorted((a, b) => a.date.localeCompare(b.date)).at(-1);
	if (last !== undefined) {
		const { cpu, cores, kernel, node } = last.machine;
		const contestants = new Set(found.flatMap((part) => part.contestants));
		lines.push(`- ${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}`, `- contestants: ${[...contestants].join(", ")}`, "");
	}
	if (found.some(({ verdicts }) => verdicts.length > 0)) lines.push(markdownTable(budgetsOf(results)));
	for (const part of found) lines.push(...part.tables.map(markdownTable), `*${circumstances(part)}*`, "");
	return lines.join("\n");
}

/** JSON has no NaN. */
function measured(verdict: Verdict): Verdict {
	return { ...verdict, value: (verdict.value as number | null) ?? Number.NaN };
}
