/** Rows as columns for a terminal. */

/** The last column is not padded; nothing in a cell can move the cursor. */
export function tableText(header: readonly string[], rows: readonly (readonly string[])[]): string {
	const all = [header, ...rows].map((row) => row.map(shown));
	// Not Math.max of all: a list may be longer than a call may have arguments.
	const widths = header.map((_, column) => all.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0));
	return all
		.map(
			(row) =>
				`${row
					.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
					.join("  ")
					.trimEnd()}\n`,
		)
		.join("");
}

/** Without control characters and what changes the direction of writing, which may come from elsewhere. */
export function shown(text: string): string {
	return text.replace(/[^\x20-\x7e\u00a0-\uffff]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "?");
}

/** `2026-01-02 03:04` of an ISO time; "-" for none. */
export function shortTime(iso: string | null | undefined): string {
	return iso === null || iso === undefined ? "-" : iso.slice(0, 16).replace("T", " ");
}
