/** `nexus events`: what Nexus has, and with --follow what comes. */
import { type Clock, systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { eventLine, readShownEvent, safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { type NexusApi, type NexusFlags, NexusRefusal, openNexusApi } from "./nexus-api.ts";
import { pause } from "./pause.ts";
import { SseReader } from "./sse-reader.ts";

export interface EventsOptions extends NexusFlags {
	readonly follow: boolean;
	readonly type?: string;
	readonly source?: string;
	readonly subject?: string;
	/** RFC 3339, or a time back from now: 30s, 10m, 2h, 1d. */
	readonly since?: string;
	readonly until?: string;
	readonly after?: number;
	/** Default: 100, or no limit where events are followed. */
	readonly limit?: number;
	readonly order?: "asc" | "desc";
	/** JSON lines in a terminal as well; a pipe always gets them. */
	readonly json?: boolean;
}

export interface EventsContext {
	readonly clock: Clock;
	/** Ends --follow with exit code 0. */
	readonly signal: AbortSignal;
}

const LIMIT = 100;
const PAGE_MAX = 1000;
const RECONNECT_MS = 1_000;
const RECONNECT_MAX_MS = 15_000;
const BACK_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Resolves with 0, or with 1 where the options are wrong or Nexus is not there. */
export async function runEvents(options: EventsOptions, io: CliIo, context?: EventsContext): Promise<number> {
	const { clock, signal } = context ?? { clock: systemClock, signal: new AbortController().signal };
	const filter = buildFilter(options, clock.wallMs());
	if (typeof filter === "string") return refuse(io, filter);
	const api = await openNexusApi(options);
	if (typeof api === "string") return refuse(io, api);
	const printer = new Printer(options, io);
	try {
		return options.follow ? await follow(api, filter, printer, io, clock, signal) : await page(api, filter, options, printer);
	} catch (thrown) {
		if (signal.aborted) return 0;
		return refuse(io, thrown instanceof NexusRefusal ? thrown.message : `what answers at ${api.base.origin} is not Nexus: ${messageOf(thrown)}`);
	}
}

/** Counts what it prints. */
class Printer {
	printed = 0;
	readonly #io: CliIo;
	readonly #asJson: boolean;
	readonly limit: number;

	constructor(options: EventsOptions, io: CliIo) {
		this.#io = io;
		this.#asJson = options.json === true || !io.stdout.isTTY;
		this.limit = options.limit ?? (options.follow ? Number.POSITIVE_INFINITY : LIMIT);
	}

	get isDone(): boolean {
		return this.printed >= this.limit;
	}

	print(item: unknown): void {
		this.printed++;
		const { colour, stdout } = this.#io;
		const shown = this.#asJson ? undefined : readShownEvent(item);
		const line = shown === undefined ? safeJson(item) : eventLine(shown, { colour, columns: stdout.columns });
		stdout.write(`${line}\n`);
	}
}

async function page(api: NexusApi, filter: URLSearchParams, options: EventsOptions, printer: Printer): Promise<number> {
	const params = new URLSearchParams(filter);
	// Without a start, the latest are wanted: read backwards, printed forwards.
	const isTail = options.order === undefined && options.after === undefined && options.since === undefined;
	if (isTail || options.order !== undefined) params.set("order", options.order ?? "desc");
	const tail: unknown[] = [];
	let count = 0;
	while (count < printer.limit) {
		params.set("limit", String(Math.min(PAGE_MAX, printer.limit - count)));
		const { events, next } = await api.json<{ events: readonly unknown[]; next: number | null }>(`/v1/events?${params}`);
		count += events.length;
		for (const event of events) {
			if (isTail) tail.push(event);
			else printer.print(event);
		}
		if (next === null) break;
		params.set("after", String(next));
	}
	for (const event of tail.reverse()) printer.print(event);
	return 0;
}

async function follow(api: NexusApi, filter: URLSearchParams, printer: Printer, io: CliIo, clock: Clock, signal: AbortSignal): Promise<number> {
	let reader = new SseReader("");
	let wasConnected = false;
	let delayMs = 0;
	while (!printer.isDone) {
		let cause = "it ended";
		try {
			reader = new SseReader(reader.lastId);
			const resume = reader.lastId === "" ? {} : { "last-event-id": reader.lastId };
			const { body } = await api.request(`/v1/events/stream?${filter}`, { headers: { accept: "text/event-stream", ...resume }, signal });
			if (wasConnected) io.stderr.write("connected again\n");
			wasConnected = true;
			delayMs = 0;
			if (body !== null) await printStream(body, reader, printer, io);
		} catch (thrown) {
			// Nobody there from the start is an answer; a stream that breaks is a reason to wait, and a Nexus that cannot serve now another.
			const isAnswer = thrown instanceof NexusRefusal && (thrown.status === 0 ? !wasConnected : thrown.status < 500);
			if (isAnswer || (!wasConnected && !(thrown instanceof NexusRefusal)) || signal.aborted) throw thrown;
			cause = causeOf(thrown);
		}
		if (printer.isDone) break;
		delayMs = Math.min(Math.max(RECONNECT_MS, delayMs * 2), RECONNECT_MAX_MS);
		io.stderr.write(`the stream broke (${cause}); connecting again in ${delayMs / 1000} s, to go on after sequence ${reader.lastId}\n`);
		await pause(delayMs, clock, signal);
	}
	return 0;
}

/** Until the stream ends, or enough is printed. */
async function printStream(body: ReadableStream<Uint8Array>, reader: SseReader, printer: Printer, io: CliIo): Promise<void> {
	const decoder = new TextDecoder();
	for await (const chunk of body) {
		for (const { event, data } of reader.push(decoder.decode(chunk, { stream: true }))) {
			if (event === "gap") io.stderr.write(`these events cannot be read any more: ${data}\n`);
			else printer.print(JSON.parse(data));
			if (printer.isDone) return;
		}
	}
}

/** What is asked for, or what is wrong with the options. */
function buildFilter(options: EventsOptions, nowMs: number): URLSearchParams | string {
	if (options.follow && (options.until !== undefined || options.order !== undefined))
		return "--follow goes on in order: leave out --until and --order";
	const filter = new URLSearchParams();
	for (const name of ["type", "source", "subject"] as const) {
		const value = options[name];
		if (value !== undefined) filter.set(name, value);
	}
	for (const name of ["since", "until"] as const) {
		const value = options[name];
		if (value === undefined) continue;
		const time = timeOf(value, nowMs);
		if (time === undefined) return `--${name} ${value} is neither a time (2026-01-02T03:04:05Z) nor one back from now (10m, 2h)`;
		filter.set(name, time);
	}
	if (options.after !== undefined) filter.set("after", String(options.after));
	return filter;
}

function timeOf(text: string, nowMs: number): string | undefined {
	const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
	const ms = digits === undefined ? Date.parse(text) : nowMs - Number(digits) * (BACK_MS[unit ?? ""] ?? 0);
	return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 && (digits !== undefined || /^\d{4}-/.test(text)) ? new Date(ms).toISOString() : undefined;
}

function causeOf(thrown: unknown): string {
	return messageOf(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
}

function refuse(io: CliIo, message: string): number {
	io.stderr.write(`nexus events: ${message}\n`);
	return 1;
}
