/** Rows and columns as text: aligned for a terminal, or as Markdown. */

export interface Table {
	readonly title: string;
	/** The first column is text, the others are figures. */
	readonly columns: readonly string[];
	readonly rows: readonly (readonly string[])[];
	/** Lines below it. */
	readonly notes: readonly string[];
}

export function plainTable({ title, columns, rows, notes }: Table): string {
	const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i]?.length ?? 0)));
	const line = (cells: readonly string[]) =>
		widths
			.map((width, i) => (i === 0 ? (cells[i] ?? "").padEnd(width) : (cells[i] ?? "").padStart(width)))
			.join("  ")
			.trimEnd();
	const rule = "-".repeat(line(columns).length);
	return [title, rule, line(columns), rule, ...rows.map(line), ...notes.map((note) => `  ${note}`), ""].join("\n");
}

export function markdownTable({ title, columns, rows, notes }: Table): string {
	const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
	const rule = `|${columns.map((_, i) => (i === 0 ? "---" : "---:")).join("|")}|`;
	return [
		`### ${title}`,
		"",
		line(columns),
		rule,
		...rows.map(line),
		"",
		...notes.map((note) => `- ${note}`),
		...(notes.length > 0 ? [""] : []),
	].join("\n");
}

/** `digits` after the point; a dash for what was not measured. */
export function figure(value: number, digits: number): string {
	return Number.isFinite(value) ? value.toFixed(digits) : "-";
}

/** With its sign, for what is added to something. */
export function signed(value: number, digits: number): string {
	return Number.isFinite(value) ? `${value < 0 ? "" : "+"}${value.toFixed(digits)}` : "-";
}

export function thousands(value: number): string {
	return Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "-";
}
