/** `nexus events`: what Nexus has, and with --follow what comes. */
import { type Clock, systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { eventLine, readShownEvent, safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { pause } from "./pause.ts";
import { SseReader } from "./sse-reader.ts";

export interface EventsOptions {
	/** Of the API of Nexus. */
	readonly url: string;
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
	const query = buildQuery(options, clock.wallMs());
	if (typeof query === "string") return refuse(io, query);
	const printer = new Printer(options, io);
	try {
		return options.follow ? await follow(query, printer, io, clock, signal) : await page(query, options, printer);
	} catch (thrown) {
		if (signal.aborted) return 0;
		return refuse(io, thrown instanceof Refusal ? thrown.message : unreachable(query.base, thrown));
	}
}

interface Query {
	readonly base: URL;
	readonly filter: URLSearchParams;
}

/** What Nexus answered with, in words. */
class Refusal extends Error {}

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

async function page({ base, filter }: Query, options: EventsOptions, printer: Printer): Promise<number> {
	const params = new URLSearchParams(filter);
	// Without a start, the latest are wanted: read backwards, printed forwards.
	const isTail = options.order === undefined && options.after === undefined && options.since === undefined;
	if (isTail || options.order !== undefined) params.set("order", options.order ?? "desc");
	const tail: unknown[] = [];
	let count = 0;
	while (count < printer.limit) {
		params.set("limit", String(Math.min(PAGE_MAX, printer.limit - count)));
		const response = await fetch(new URL(`/v1/events?${params}`, base));
		if (!response.ok) throw new Refusal(await problemOf(response));
		const { events, next } = (await response.json()) as { events: readonly unknown[]; next: number | null };
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

async function follow({ base, filter }: Query, printer: Printer, io: CliIo, clock: Clock, signal: AbortSignal): Promise<number> {
	let reader = new SseReader("");
	let wasConnected = false;
	let delayMs = 0;
	while (!printer.isDone) {
		let cause = "it ended";
		try {
			reader = new SseReader(reader.lastId);
			const resume = reader.lastId === "" ? {} : { "last-event-id": reader.lastId };
			const response = await fetch(new URL(`/v1/events/stream?${filter}`, base), { headers: { accept: "text/event-stream", ...resume }, signal });
			if (response.ok && response.body !== null) {
				if (wasConnected) io.stderr.write("connected again\n");
				wasConnected = true;
				delayMs = 0;
				await printStream(response.body, reader, printer, io);
			} else {
				cause = await problemOf(response);
				if (response.status < 500) throw new Refusal(cause);
			}
		} catch (thrown) {
			// Nobody there from the start is an answer; a stream that breaks is a reason to wait.
			if (thrown instanceof Refusal || !wasConnected || signal.aborted) throw thrown;
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

/** The query, or what is wrong with the options. */
function buildQuery(options: EventsOptions, nowMs: number): Query | string {
	const base = URL.parse(options.url);
	if (base === null || !/^https?:$/.test(base.protocol)) return `--url ${options.url} is not an http URL, as in http://127.0.0.1:7400`;
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
	return { base, filter };
}

function timeOf(text: string, nowMs: number): string | undefined {
	const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
	const ms = digits === undefined ? Date.parse(text) : nowMs - Number(digits) * (BACK_MS[unit ?? ""] ?? 0);
	return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 && (digits !== undefined || /^\d{4}-/.test(text)) ? new Date(ms).toISOString() : undefined;
}

async function problemOf(response: Response): Promise<string> {
	const text = await response.text();
	try {
		const { title, detail } = JSON.parse(text) as { title?: string; detail?: string };
		return [title ?? `status ${response.status}`, detail].filter((part) => part !== undefined).join(" ");
	} catch {
		return `status ${response.status} from something that is not Nexus`;
	}
}

function unreachable(base: URL, thrown: unknown): string {
	return `Nexus does not answer at ${base.origin}: ${causeOf(thrown)}. Start it with \`nexus serve\`, or say where it is with --url`;
}

function causeOf(thrown: unknown): string {
	return messageOf(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
}

function refuse(io: CliIo, message: string): number {
	io.stderr.write(`nexus events: ${message}\n`);
	return 1;
}
