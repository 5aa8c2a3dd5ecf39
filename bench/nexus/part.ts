/** What every part of the bench of Nexus is given, and what it hands back: tables, and figures beside their budgets. */
import type { Cores } from "../machine.ts";
import type { Workspace } from "../processes.ts";
import type { Progress } from "../progress.ts";
import { figure, type Table, thousands } from "../table.ts";
import type { Options } from "./options.ts";

export interface Stage {
	readonly workspace: Workspace;
	readonly cores: Cores;
	readonly progress: Progress;
	readonly options: Options;
}

export interface PartReport {
	readonly tables: readonly Table[];
	readonly verdicts: readonly Verdict[];
	/** For --json. */
	readonly figures: unknown;
}

export type MeasurePart = (stage: Stage) => Promise<PartReport>;

export interface Budget {
	/** One of the two. */
	readonly least?: number;
	readonly most?: number;
	readonly stretch?: number;
	readonly unit: "/s" | "ms" | "s" | "MB" | "x";
}

export interface Verdict {
	readonly what: string;
	readonly budget: Budget;
	/** NaN where nothing valid was measured. */
	readonly value: number;
}

export function outcomeOf({ budget, value }: Verdict): "met" | "met, stretch too" | "missed" | "not measured" {
	if (!Number.isFinite(value)) return "not measured";
	const { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY, stretch } = budget;
	if (value < least || value > most) return "missed";
	if (stretch === undefined) return "met";
	return (budget.least === undefined ? value <= stretch : value >= stretch) ? "met, stretch too" : "met";
}

export function budgetTable(verdicts: readonly Verdict[]): Table {
	return {
		title: "Budgets of Nexus",
		columns: ["what", "measured", "budget", "stretch", "outcome"],
		rows: verdicts.map((verdict) => {
			const { what, value, budget } = verdict;
			const { least, most, stretch } = budget;
			const bound = least === undefined ? `<= ${amount(most ?? Number.NaN, budget)}` : `>= ${amount(least, budget)}`;
			const outcome = outcomeOf(verdict);
			return [
				what,
				amount(value, budget),
				bound,
				stretch === undefined ? "" : amount(stretch, budget),
				outcome.startsWith("met") ? outcome : outcome.toUpperCase(),
			];
		}),
		notes: [],
	};
}

function amount(value: number, { unit }: Budget): string {
	if (unit === "/s") return `${thousands(value)}/s`;
	return `${figure(value, unit === "x" || unit === "s" ? 2 : 1)} ${unit}`;
}
