/** The full load as a picture: one bar per contestant, user and system CPU time stacked, the ratio written beside it. SVG, no library. */

import { bodiesOf } from "./report.ts";
import type { Results } from "./results.ts";
import { figure, thousands } from "./table.ts";
import type { ThroughputRow } from "./throughput.ts";

const WIDTH = 880;
const LEFT = 110;
const BAR_MAX = 420;
const BAR_HEIGHT = 20;
const ROW_HEIGHT = 30;
const GROUP_HEAD = 44;
const HEAD = 78;
const FOOT = 34;
// Told apart by people who do not tell red from green, and on a grey printer by their lightness.
const COLOURS = { ours: { user: "#0b6e99", system: "#7cc3e0" }, peer: { user: "#6b6b6b", system: "#c4c4c4" } };

interface Group {
	readonly title: string;
	readonly rows: readonly ThroughputRow[];
}

/** Undefined where the full load was not measured. */
export function cpuChart(results: Results): string | undefined {
	const groups = [...groupsOf(results.throughput, ""), ...groupsOf(results.log, ", access log on")];
	if (groups.length === 0) return undefined;
	const most = Math.max(...groups.flatMap((group) => group.rows.map((row) => row.userUs + row.systemUs)));
	const scale = BAR_MAX / most;
	const parts: string[] = [];
	let y = HEAD;
	for (const group of groups) {
		parts.push(text(16, y + 24, group.title, "group"));
		y += GROUP_HEAD;
		for (const row of group.rows) {
			parts.push(bar(row, y, scale));
			y += ROW_HEIGHT;
		}
	}
	const height = y + FOOT;
	const { machine, generator, connections, rounds, seconds, date } = results;
	const conditions = `${machine.cpu}, one core; ${generator}, ${connections} connections, ${rounds} x ${seconds} s; ${date.slice(0, 10)}`;
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="CPU time per request by proxy">
<style>text{font:14px system-ui,sans-serif;fill:#222}.title{font-size:18px;font-weight:600}.group{font-weight:600}.own{font-weight:600}.small{font-size:12px;fill:#555}</style>
<rect width="100%" height="100%" fill="#fff"/>
${text(16, 30, "CPU time per request, microseconds (less is better)", "title")}
${legend(52)}
${parts.join("\n")}
${text(16, height - 12, results.quick ? `a quick run: the figures mean nothing. ${conditions}` : conditions, "small")}
</svg>
`;
}

function groupsOf(rows: readonly ThroughputRow[] | undefined, suffix: string): Group[] {
	const valid = (rows ?? []).filter((row) => row.faults.length === 0 && Number.isFinite(row.userUs));
	return bodiesOf(valid).map((bodyBytes) => ({
		title: `${thousands(bodyBytes)}-byte bodies${suffix}`,
		rows: valid.filter((row) => row.bodyBytes === bodyBytes).sort((a, b) => a.userUs + a.systemUs - b.userUs - b.systemUs),
	}));
}

function bar(row: ThroughputRow, y: number, scale: number): string {
	const own = row.name === "ours";
	const colour = own ? COLOURS.ours : COLOURS.peer;
	const user = row.userUs * scale;
	const system = row.systemUs * scale;
	const ratio = own || row.ratio === undefined ? "" : `, ours is ${figure(row.ratio.median, 2)} x`;
	const label = `${figure(row.userUs + row.systemUs, 1)} us${ratio}`;
	return [
		text(16, y + 15, row.name, own ? "own" : ""),
		rect(LEFT, y, user, colour.user),
		rect(LEFT + user, y, system, colour.system),
		text(LEFT + user + system + 8, y + 15, label, own ? "own" : ""),
	].join("");
}

function legend(y: number): string {
	const items: [string, string][] = [
		[COLOURS.ours.user, "ours: user"],
		[COLOURS.ours.system, "ours: system"],
		[COLOURS.peer.user, "peer: user"],
		[COLOURS.peer.system, "peer: system"],
	];
	return items.map(([colour, name], i) => `${rect(16 + i * 120, y, 12, colour, 12)}${text(34 + i * 120, y + 11, name, "small")}`).join("");
}

function rect(x: number, y: number, width: number, fill: string, height: number = BAR_HEIGHT): string {
	return `<rect x="${figure(x, 1)}" y="${y}" width="${figure(width, 1)}" height="${height}" fill="${fill}"/>`;
}

function text(x: number, y: number, content: string, style: string): string {
	const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
	return `<text x="${figure(x, 1)}" y="${y}"${style === "" ? "" : ` class="${style}"`}>${escaped}</text>`;
}
