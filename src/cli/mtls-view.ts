/** Several sidecars and their TLS as people read them: a table, and below it what there is to do. Only makes text. */
import { roughly } from "../identity/tls-refusal.ts";
import { printable } from "./event-line.ts";
import { judgeStrict, type MtlsAnswer, type MtlsFailure, type MtlsState } from "./mtls-state.ts";
import { paint } from "./trace-text.ts";

export interface AskedSidecar {
	readonly url: string;
	readonly answer: MtlsAnswer;
}

export interface MtlsStyle {
	readonly colour: boolean;
	readonly columns: number;
}

// A screenful for each sidecar; JSON has all.
const ROWS_MAX = 5;
// Enough of it to tell two apart.
const SERIAL_CHARS = 8;
const IDENTITY_CHARS_MIN = 12;
const GAP = 2;

const HEADER = ["identity", "serial", "valid", "source", "inbound", "plain", "failed"] as const;
const [IDENTITY, SERIAL] = [0, 1];

/** With a line break at its end. */
export function mtlsText(sidecars: readonly AskedSidecar[], style: MtlsStyle): string {
	const rows = sidecars.flatMap(({ answer }) => (typeof answer === "string" ? [] : [rowOf(answer)]));
	const table = rows.length === 0 ? [] : tableLines([HEADER, ...rows], style);
	return [...table, ...sidecars.flatMap((sidecar) => ["", ...notesOf(sidecar, style)])].join("\n").replace(/^\n/, "").concat("\n");
}

function rowOf({ service, now, identity, inbound, upstreams }: MtlsState): readonly string[] {
	const sum = (inbound?.connections.failed ?? 0) + upstreams.reduce((failed, { connections }) => failed + connections.failed, 0);
	const name = identity === null ? service : identity.identity.replace(/^spiffe:\/\//, "");
	return [
		printable(name),
		printable(identity?.certificate?.serial ?? "-"),
		identity === null ? "-" : validText(identity, now),
		identity === null ? "none" : printable(identity.source.split(/, | at /, 1)[0] ?? ""),
		inbound?.tls ?? "-",
		inbound === null || inbound.tls === "off" ? "-" : shareText(inbound.connections),
		String(sum),
	];
}

function validText({ state, certificate }: NonNullable<MtlsState["identity"]>, now: string): string {
	if (state === "waiting" || certificate === undefined) return "waiting";
	const leftMs = Date.parse(certificate.notAfter) - Date.parse(now);
	return leftMs < 0 ? `ended ${roughly(leftMs)} ago` : roughly(leftMs);
}

/** Of all connections that were taken. */
function shareText({ full, resumed, plaintext }: NonNullable<MtlsState["inbound"]>["connections"]): string {
	if (plaintext === 0) return "0 %";
	const percent = (plaintext / (full + resumed + plaintext)) * 100;
	return percent < 1 ? "< 1 %" : `${Math.round(percent)} %`;
}

/** Where it is too wide, serials are cut first, then identities, whose end tells more. */
function tableLines(rows: readonly (readonly string[])[], { colour, columns }: MtlsStyle): string[] {
	const widthsOf = (cells: readonly (readonly string[])[]): number[] =>
		HEADER.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
	const excess = (widths: readonly number[]): number => widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1)) - columns;
	let cells = rows;
	if (excess(widthsOf(cells)) > 0) {
		cells = cells.map((row) =>
			row.map((cell, column) => (column === SERIAL && cell.length > SERIAL_CHARS ? `${cell.slice(0, SERIAL_CHARS)}…` : cell)),
		);
	}
	const widths = widthsOf(cells);
	const over = excess(widths);
	if (over > 0) {
		const room = Math.max(IDENTITY_CHARS_MIN, (widths[IDENTITY] ?? 0) - over);
		cells = cells.map((row) => row.map((cell, column) => (column === IDENTITY && cell.length > room ? `…${cell.slice(1 - room)}` : cell)));
		widths[IDENTITY] = room;
	}
	return cells.map((row, i) => {
		const line = row
			.map((cell, column) => cell.padEnd(widths[column] ?? 0))
			.join(" ".repeat(GAP))
			.trimEnd();
		return i === 0 ? paint("dim", line, colour) : line;
	});
}

function notesOf({ url, answer }: AskedSidecar, { colour, columns }: MtlsStyle): string[] {
	const wrapped = (indent: number, text: string): string[] => wrap(printable(text), indent, columns);
	if (typeof answer === "string") return [paint("bold", printable(url), colour), ...painted("red", wrapped(2, answer), colour)];
	const { service, now, identity, failures } = answer;
	const lines = [`${paint("bold", printable(service), colour)} ${paint("dim", printable(url), colour)}`];
	if (identity === null) lines.push(...wrapped(2, "it has no identity: its connections are not encrypted"));
	const fault = identity?.lastError;
	if (fault !== undefined) lines.push(...painted("red", wrapped(2, `certificate: ${fault.words} (${fault.reason})`), colour));
	if (identity !== null) lines.push(...strictLines(answer, wrapped, colour));
	for (const failure of failures.slice(0, ROWS_MAX)) {
		lines.push(...painted("red", wrapped(2, failureText(failure, now)), colour), ...wrapped(4, sentence(failure.words)), ...wrapped(4, failure.hint));
	}
	if (failures.length > ROWS_MAX) lines.push(...wrapped(2, `${failures.length - ROWS_MAX} further failures (see --json)`));
	return lines;
}

function strictLines(state: MtlsState, wrapped: (indent: number, text: string) => string[], colour: boolean): string[] {
	const { now, inbound } = state;
	const strict = judgeStrict(state);
	if (strict === undefined || inbound === null) return [];
	const { verdict, why } = strict;
	if (verdict === "on" || verdict === "off") return wrapped(2, `inbound is ${inbound.tls}: ${why}`);
	if (verdict === "safe") return painted("green", wrapped(2, `strict is safe: ${why}`), colour);
	const lines = painted(
		"yellow",
		wrapped(2, verdict === "not_yet" ? `strict is not safe yet: ${why}` : `strict is not known to be safe: ${why}`),
		colour,
	);
	const { callers } = inbound.plaintext;
	for (const { address, count, first, last } of callers.slice(0, ROWS_MAX)) {
		lines.push(...wrapped(4, `${address}: ${count} in plain text, first ${ago(first, now)}, last ${ago(last, now)}`));
	}
	if (callers.length > ROWS_MAX) lines.push(...wrapped(4, `${callers.length - ROWS_MAX} further callers (see --json)`));
	return lines;
}

function failureText({ kind, name, reason, count, peer, address, last }: MtlsFailure, now: string): string {
	const who = [peer, address].filter((part) => part !== "").join(" at ");
	const side = name === "inbound" ? "from" : "to";
	return `${kind === "cut" ? "cut" : name}: ${reason} x${count}${who === "" ? "" : `, ${kind === "cut" ? "" : `${side} `}${who}`}, ${ago(last, now)}`;
}

function ago(time: string, now: string): string {
	return `${roughly(Math.max(0, Date.parse(now) - Date.parse(time)))} ago`;
}

function sentence(words: string): string {
	return `${words.slice(0, 1).toUpperCase()}${words.slice(1)}.`.replace(/\.\.$/, ".");
}

function painted(code: Parameters<typeof paint>[0], lines: readonly string[], colour: boolean): string[] {
	return lines.map((line) => paint(code, line, colour));
}

/** Between words, each line behind so many blanks; what does not fit in one stands out rather than being cut. */
function wrap(text: string, indent: number, columns: number): string[] {
	const room = Math.max(20, columns - indent);
	const lines: string[] = [];
	let line = "";
	for (const word of text.split(" ")) {
		if (line !== "" && line.length + 1 + word.length > room) {
			lines.push(line);
			line = word;
		} else line = line === "" ? word : `${line} ${word}`;
	}
	lines.push(line);
	return lines.map((one) => " ".repeat(indent) + one);
}
