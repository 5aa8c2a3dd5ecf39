/** The capabilities of all backends as a table for the documentation. */
import { BACKENDS, FEATURE_TITLES, type LogCapabilities, type LogFeature, type Support } from "./capabilities.ts";

/** GitHub-flavoured Markdown: a row per feature, a column per backend; notes stand behind a yes or no. Ends with a newline. */
export function capabilityTable(): string {
	const logs: readonly LogCapabilities[] = Object.values(BACKENDS);
	const rows = [
		["", ...logs.map(({ backend }) => `\`${backend}\``)],
		["---", ...logs.map(() => "---")],
		["durability of an acknowledgement", ...logs.map(({ durability, durabilityBasis }) => `**${durability}**: ${durabilityBasis}`)],
		...(Object.entries(FEATURE_TITLES) as [LogFeature, string][]).map(([feature, title]) => [
			title,
			...logs.map(({ features }) => cell(features[feature])),
		]),
	];
	return `${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}

function cell({ has, note }: Support): string {
	const word = has ? "yes" : "no";
	return note === undefined ? word : `${word}: ${note}`;
}
