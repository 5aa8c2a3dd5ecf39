/** Decision traces as people read them: one line for the request, one for each decision, with the line of the policy behind it. */
import type { Decision, DecisionData, DecisionTrace } from "../policy/decision-trace.ts";
import { placeText } from "../policy/explain.ts";
import { printable, safeJson } from "./event-line.ts";

export interface TextStyle {
	readonly colour: boolean;
	/** Offline there is no time to tell. */
	readonly times: boolean;
}

// What a decision compares, such as endpoints: a screenful; `--json` has all.
const ROWS_MAX = 20;
const STAGE_CHARS = 11;
const RED = "\x1b[31m";
const GREEN = "\x1b[32m";
const YELLOW = "\x1b[33m";
const DIM = "\x1b[2m";
const BOLD = "\x1b[1m";
const RESET = "\x1b[0m";

const MARKS = Object.freeze({ yes: { text: "yes", colour: GREEN }, no: { text: "no ", colour: RED }, note: { text: " - ", colour: DIM } });

/** With a line break at its end. */
export function traceText(trace: DecisionTrace, style: TextStyle): string {
	return `${headLine(trace, style)}\n${decisionsText(trace.decisions, style)}`;
}

/** One line each, in their order, and what they compared below; with a line break at the end of each. */
export function decisionsText(decisions: readonly Decision[], style: TextStyle): string {
	const times = decisions.map(({ atMs }) => (style.times ? `${atMs.toFixed(1)} ms` : ""));
	const width = Math.max(0, ...times.map((time) => time.length));
	return decisions.map((decision, i) => decisionText(decision, (times[i] ?? "").padStart(width), style)).join("");
}

/** The same as a tree: a branch for each stage, in the order of a request's life. */
export function decisionTree(decisions: readonly Decision[], { colour }: TextStyle): string {
	const dim = (text: string): string => paint("dim", text, colour);
	const stages = stagesOf(decisions);
	let text = "";
	for (const [i, stage] of stages.entries()) {
		const isLast = i === stages.length - 1;
		text += `${dim(isLast ? "└─" : "├─")} ${paint("bold", printable(stage[0]?.stage ?? ""), colour)}\n`;
		for (const [k, { verdict, text: said, place, data }] of stage.entries()) {
			const trunk = `${isLast ? " " : "│"}  `;
			const mark = MARKS[verdict];
			const where = place === undefined ? "" : `  ${dim(printable(placeText(place)))}`;
			text += `${dim(`${trunk}${k === stage.length - 1 ? "└─" : "├─"}`)} ${colour ? `${mark.colour}${mark.text}${RESET}` : mark.text} ${printable(said)}${where}\n`;
			text += tablesIn(data, `${dim(`${trunk}${k === stage.length - 1 ? " " : "│"}`)}        `, colour);
		}
	}
	return text;
}

/** Runs of one stage. */
function stagesOf(decisions: readonly Decision[]): Decision[][] {
	const stages: Decision[][] = [];
	for (const decision of decisions) {
		const last = stages.at(-1);
		if (last?.[0]?.stage === decision.stage) last.push(decision);
		else stages.push([decision]);
	}
	return stages;
}

/** Text in one of the terminal's colours where there are any. */
export function paint(code: "red" | "green" | "yellow" | "dim" | "bold", text: string, colour: boolean): string {
	const codes = { red: RED, green: GREEN, yellow: YELLOW, dim: DIM, bold: BOLD };
	return colour ? `${codes[code]}${text}${RESET}` : text;
}

/** A trace as it comes from an admin API; undefined for what is none. */
export function readTrace(value: unknown): DecisionTrace | undefined {
	if (!isRecord(value)) return undefined;
	const texts = ["id", "time", "direction", "method", "host", "target", "route", "upstream", "endpoint", "detail"];
	if (!texts.every((key) => typeof value[key] === "string")) return undefined;
	if (!["status", "attempts", "durationMs", "policyVersion"].every((key) => typeof value[key] === "number")) return undefined;
	if (value.reason !== undefined && typeof value.reason !== "string") return undefined;
	if (!Array.isArray(value.decisions) || !value.decisions.every(isDecision)) return undefined;
	return value as unknown as DecisionTrace;
}

function headLine(trace: DecisionTrace, { colour }: TextStyle): string {
	const { status, reason, detail, attempts } = trace;
	const failed = status === 0 || status >= 500 ? "red" : status >= 400 ? "yellow" : "green";
	const way = [trace.route, trace.upstream, trace.endpoint].filter((part) => part !== "").map(printable);
	const parts = [
		paint("dim", clockTime(trace.time), colour),
		paint(failed, status === 0 ? "---" : String(status), colour),
		paint("bold", `${printable(trace.method)} ${printable(trace.host)}${printable(trace.target)}`, colour),
		way.join(" -> "),
		`${trace.durationMs} ms`,
		attempts > 1 ? `${attempts} tries` : "",
		reason === undefined ? "" : paint("red", printable(reason), colour) + (detail === "" ? "" : `: ${printable(detail)}`),
		paint("dim", printable(`${trace.direction} ${trace.id}`), colour),
	];
	return parts.filter((part) => part !== "").join("  ");
}

function decisionText({ stage, verdict, text, place, data }: Decision, time: string, { colour, times }: TextStyle): string {
	const mark = MARKS[verdict];
	const painted = colour ? `${mark.colour}${mark.text}${RESET}` : mark.text;
	const where = place === undefined ? "" : `  ${paint("dim", printable(placeText(place)), colour)}`;
	const lead = times ? `${paint("dim", time, colour)}  ` : "";
	const line = `  ${lead}${painted}  ${printable(stage).padEnd(STAGE_CHARS)} ${printable(text)}${where}\n`;
	const indent = " ".repeat(2 + (times ? time.length + 2 : 0) + MARKS.yes.text.length + 2 + STAGE_CHARS + 3);
	return line + tablesIn(data, indent, colour);
}

/** What a decision compared: the lists of objects in its data. Its other data its text has told. */
function tablesIn(data: DecisionData | undefined, indent: string, colour: boolean): string {
	if (data === undefined) return "";
	let text = "";
	for (const value of Object.values(data)) {
		if (!Array.isArray(value)) continue;
		const rows = value.filter(isRecord).map((row) => Object.entries(row).filter(([, cell]) => cell !== false && cell !== null && cell !== ""));
		const shown = rows.slice(0, ROWS_MAX).map((cells) => cells.map(cellText).join("  "));
		if (shown.length < rows.length) shown.push(`${rows.length - shown.length} further ones (see --json)`);
		for (const row of shown) text += `${indent}${paint("dim", printable(row), colour)}\n`;
	}
	return text;
}

function cellText([key, value]: [string, unknown], at: number): string {
	// The first says which one it is.
	if (at === 0) return String(value);
	if (value === true) return key;
	return `${key} ${typeof value === "object" ? safeJson(value) : String(value)}`;
}

function clockTime(iso: string): string {
	const date = new Date(iso);
	if (Number.isNaN(date.getTime())) return "";
	const two = (n: number): string => String(n).padStart(2, "0");
	return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function isDecision(value: unknown): boolean {
	if (!isRecord(value)) return false;
	const { stage, verdict, atMs, text, place, data } = value;
	if (typeof stage !== "string" || typeof verdict !== "string" || !Object.hasOwn(MARKS, verdict)) return false;
	if (typeof atMs !== "number" || typeof text !== "string" || (data !== undefined && !isRecord(data))) return false;
	return (
		place === undefined || (isRecord(place) && typeof place.file === "string" && typeof place.line === "number" && typeof place.column === "number")
	);
}

function isRecord(value: unknown): value is Record<string, unknown> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
