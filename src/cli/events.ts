/** `nexus events`: what Nexus has, and with --follow what comes. */
import { type EventQuery, type NexusClient, NexusError, type StoredEvent } from "../client/nexus-client.ts";
import { wait } from "../client/retry.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { eventLine, readShownEvent, safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { type NexusFlags, openNexus, refusalText } from "./nexus-api.ts";

export interface EventsOptions extends NexusFlags {
	readonly follow: boolean;
	readonly type?: string;
	readonly source?: string;
	readonly subject?: string;
	/** RFC 3339, or a time back from now: 30s, 10m, 2h, 1d. */
	readonly since?: string;
	readonly until?: string;
	readonly after?: number;
	/** Default: 100, or no limit where events are followed or replayed. */
	readonly limit?: number;
	readonly order?: "asc" | "desc";
	/** Prints what is stored at the pace at which it came, so many times faster; then, with --follow, what comes. */
	readonly replay?: number;
	/** JSON lines in a terminal as well; a pipe always gets them. */
	readonly json?: boolean;
}

export interface EventsContext {
	readonly clock: Clock;
	/** Ends it with exit code 0. */
	readonly signal: AbortSignal;
}

const LIMIT = 100;
/** A night in which nothing came is not waited for. */
const REPLAY_PAUSE_MS_MAX = 10_000;
const BACK_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Resolves with 0, or with 1 where the options are wrong or Nexus is not there. */
export async function runEvents(options: EventsOptions, io: CliIo, context?: EventsContext): Promise<number> {
	const { clock, signal } = context ?? { clock: systemClock, signal: new AbortController().signal };
	const filter = buildFilter(options, clock.wallMs());
	if (typeof filter === "string") return refuse(io, filter);
	const nexus = await openNexus(options, process.env, clock);
	if (typeof nexus === "string") return refuse(io, nexus);
	const { client, origin } = nexus;
	const printer = new Printer(options, io);
	try {
		if (options.replay !== undefined) await replay(client, filter, options, printer, io, { clock, signal });
		else if (options.follow) await follow(client, filter, printer, io, signal);
		else await page(client, filter, options, printer, signal);
		return 0;
	} catch (thrown) {
		if (signal.aborted) return 0;
		return refuse(io, thrown instanceof NexusError ? refusalText(thrown) : `what answers at ${origin} is not Nexus: ${messageOf(thrown)}`);
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
		this.limit = options.limit ?? (options.follow || options.replay !== undefined ? Number.POSITIVE_INFINITY : LIMIT);
	}

	get isDone(): boolean {
		return this.printed >= this.limit;
	}

	print(item: StoredEvent): void {
		this.printed++;
		const { colour, stdout } = this.#io;
		const shown = this.#asJson ? undefined : readShownEvent(item);
		const line = shown === undefined ? safeJson(item) : eventLine(shown, { colour, columns: stdout.columns });
		stdout.write(`${line}\n`);
	}
}

async function page(client: NexusClient, filter: EventQuery, options: EventsOptions, printer: Printer, signal: AbortSignal): Promise<void> {
	// Without a start, the latest are wanted: read backwards, printed forwards.
	const isTail = options.order === undefined && options.after === undefined && options.since === undefined;
	const order = options.order ?? (isTail ? "desc" : undefined);
	const tail: StoredEvent[] = [];
	for await (const event of client.query({ ...filter, ...(order && { order }), limit: printer.limit }, { signal })) {
		if (isTail) tail.push(event);
		else printer.print(event);
	}
	for (const event of tail.reverse()) printer.print(event);
}

async function follow(client: NexusClient, filter: EventQuery, printer: Printer, io: CliIo, signal: AbortSignal): Promise<void> {
	if (printer.isDone) return;
	const following = client.follow(filter, {
		signal,
		onGap: (gap) => io.stderr.write(`these events cannot be read any more: ${JSON.stringify(gap)}\n`),
		onReconnect: () => io.stderr.write("connected again\n"),
		onBreak: (cause, ms, after) =>
			io.stderr.write(`the stream broke (${cause}); connecting again in ${ms / 1000} s${after === "" ? "" : `, to go on after sequence ${after}`}\n`),
	});
	for await (const event of following) {
		printer.print(event);
		if (printer.isDone) return;
	}
}

async function replay(
	client: NexusClient,
	filter: EventQuery,
	{ replay: speed = 1, follow: goesOn }: EventsOptions,
	printer: Printer,
	io: CliIo,
	{ clock, signal }: EventsContext,
): Promise<void> {
	let lastMs: number | undefined;
	let after = filter.after ?? 0;
	for await (const event of client.query({ ...filter, limit: printer.limit }, { signal })) {
		const receivedMs = Date.parse(event.receivedAt);
		const waitMs = Math.min((receivedMs - (lastMs ?? receivedMs)) / speed, REPLAY_PAUSE_MS_MAX);
		if (waitMs >= 1) await wait(waitMs, clock, signal);
		lastMs = receivedMs;
		after = event.sequence;
		printer.print(event);
	}
	if (goesOn) await follow(client, { ...filter, after }, printer, io, signal);
}

/** What is asked for, or what is wrong with the options. */
function buildFilter(options: EventsOptions, nowMs: number): EventQuery | string {
	const { follow: isFollowed, replay: speed, type, source, subject, after } = options;
	if (isFollowed && (options.until !== undefined || options.order !== undefined)) return "--follow goes on in order: leave out --until and --order";
	if (speed !== undefined && options.order !== undefined) return "--replay goes in order: leave out --order";
	if (speed !== undefined && !(speed > 0)) return "--replay takes how many times faster, above 0";
	const times: { since?: string; until?: string } = {};
	for (const name of ["since", "until"] as const) {
		const value = options[name];
		if (value === undefined) continue;
		const time = timeOf(value, nowMs);
		if (time === undefined) return `--${name} ${value} is neither a time (2026-01-02T03:04:05Z) nor one back from now (10m, 2h)`;
		times[name] = time;
	}
	return {
		...(type !== undefined && { type }),
		...(source !== undefined && { source }),
		...(subject !== undefined && { subject }),
		...times,
		...(after !== undefined && { after }),
	};
}

function timeOf(text: string, nowMs: number): string | undefined {
	const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
	const ms = digits === undefined ? Date.parse(text) : nowMs - Number(digits) * (BACK_MS[unit ?? ""] ?? 0);
	return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 && (digits !== undefined || /^\d{4}-/.test(text)) ? new Date(ms).toISOString() : undefined;
}

function refuse(io: CliIo, message: string): number {
	io.stderr.write(`nexus events: ${message}\n`);
	return 1;
}
