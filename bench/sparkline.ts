/** A series as one line of text. */

const BLOCKS = "▁▂▃▄▅▆▇█";

/** `width` columns, each the mean of its share of `values`; the scale runs from the least to the greatest of them. */
export function sparkline(values: readonly number[], width: number): string {
	const columns = Math.min(width, values.length);
	const means = Array.from({ length: columns }, (_, i) => {
		const share = values.slice(Math.floor((i * values.length) / columns), Math.floor(((i + 1) * values.length) / columns));
		return share.reduce((sum, value) => sum + value, 0) / share.length;
	});
	const least = Math.min(...means);
	const span = Math.max(...means) - least;
	return means.map((mean) => BLOCKS[span === 0 ? 0 : Math.round(((mean - least) / span) * (BLOCKS.length - 1))]).join("");
}
