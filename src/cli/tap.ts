/** `nexus tap`: live decision traces of one sidecar, until Ctrl-C. */

import { wait } from "../client/retry.ts";
import { SseReader } from "../client/sse-reader.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { readTrace, traceText } from "./trace-text.ts";

export interface TapCommandOptions {
	/** Of the admin API of a sidecar. */
	readonly url: string;
	readonly route?: string;
	readonly upstream?: string;
	/** `503` or `5xx`. */
	readonly status?: string;
	readonly reason?: string;
	readonly method?: string;
	readonly host?: string;
	/** `name:value` each. */
	readonly header: readonly string[];
	/** `250ms` */
	readonly minDuration?: string;
	/** Traces a second at most; the sidecar counts the rest. */
	readonly rate?: number;
	/** Ends after so many. */
	readonly limit?: number;
	/** JSON lines. */
	readonly json: boolean;
}

export interface TapContext {
	readonly clock: Clock;
	/** Ends it with exit code 0. */
	readonly signal: AbortSignal;
}

const RECONNECT_MS = 1_000;
const RECONNECT_MAX_MS = 15_000;

/** Resolves with 0 once it is told to stop or has printed `limit` traces, and with 1 where the options are wrong or nobody answers. */
export async function runTap(options: TapCommandOptions, io: CliIo, context?: TapContext): Promise<number> {
	const { clock, signal } = context ?? { clock: systemClock, signal: new AbortController().signal };
	const url = tapUrl(options);
	if (typeof url === "string") return refuse(io, url);
	const printer = new Printer(options, io);
	try {
		await follow(url, printer, io, clock, signal);
		return 0;
	} catch (thrown) {
		if (signal.aborted) return 0;
		return refuse(
			io,
			thrown instanceof Refusal
				? thrown.message
				: `no sidecar answers at ${url.origin}: ${causeOf(thrown)}. Is it running, and is this its admin address?`,
		);
	}
}

/** What the sidecar answered with, in words. */
class Refusal extends Error {}

class Printer {
	readonly #io: CliIo;
	readonly #json: boolean;
	#left: number;

	constructor({ limit, json }: TapCommandOptions, io: CliIo) {
		this.#io = io;
		this.#json = json;
		this.#left = limit ?? Number.POSITIVE_INFINITY;
	}

	get isDone(): boolean {
		return this.#left <= 0;
	}

	print(data: string): void {
		const value: unknown = JSON.parse(data);
		const trace = this.#json ? undefined : readTrace(value);
		this.#io.stdout.write(trace === undefined ? `${safeJson(value)}\n` : traceText(trace, { colour: this.#io.colour, times: true }));
		this.#left--;
	}

	/** Traces that fitted, and were more than the rate or the connection lets through. */
	tellDropped(data: string): void {
		const { dropped } = JSON.parse(data) as { dropped?: unknown };
		if (typeof dropped === "number") this.#io.stderr.write(`${dropped} more were left out; see --rate\n`);
	}
}

async function follow(url: URL, printer: Printer, io: CliIo, clock: Clock, signal: AbortSignal): Promise<void> {
	let wasConnected = false;
	let delayMs = 0;
	for (;;) {
		let cause = "it ended";
		try {
			const response = await fetch(url, { headers: { accept: "text/event-stream" }, signal });
			if (response.ok && response.headers.get("content-type")?.startsWith("text/event-stream") === true && response.body !== null) {
				io.stderr.write(wasConnected ? "connected again\n" : `tapping ${url.origin}; Ctrl-C ends it\n`);
				wasConnected = true;
				delayMs = 0;
				await printStream(response.body, printer);
			} else {
				cause = await problemOf(response);
				if (response.status < 500 || !wasConnected) throw new Refusal(cause);
			}
		} catch (thrown) {
			// Nobody there from the start is an answer; a stream that breaks is a reason to wait.
			if (thrown instanceof Refusal || !wasConnected || signal.aborted) throw thrown;
			cause = causeOf(thrown);
		}
		if (printer.isDone) return;
		delayMs = Math.min(Math.max(RECONNECT_MS, delayMs * 2), RECONNECT_MAX_MS);
		io.stderr.write(`the stream broke (${cause}); connecting again in ${delayMs / 1000} s\n`);
		await wait(delayMs, clock, signal);
	}
}

/** Until the stream ends, or enough is printed. */
async function printStream(body: ReadableStream<Uint8Array>, printer: Printer): Promise<void> {
	const reader = new SseReader("");
	const decoder = new TextDecoder();
	for await (const chunk of body) {
		for (const { event, data } of reader.push(decoder.decode(chunk, { stream: true }))) {
			if (event === "dropped") printer.tellDropped(data);
			else printer.print(data);
			if (printer.isDone) return;
		}
	}
}

/** Where to ask, or what is wrong with the options; what the filters mean is for the sidecar to say. */
function tapUrl(options: TapCommandOptions): URL | string {
	const base = URL.parse(options.url);
	if (base === null || !/^https?:$/.test(base.protocol)) return `${options.url} is not an http URL, as in http://127.0.0.1:15000`;
	const url = new URL("/tap", base);
	const { route, upstream, status, reason, method, host, minDuration, rate } = options;
	for (const [name, value] of Object.entries({ route, upstream, status, reason, method, host, "min-duration": minDuration, rate })) {
		if (value !== undefined) url.searchParams.set(name, String(value));
	}
	for (const header of options.header) url.searchParams.append("header", header);
	return url;
}

async function problemOf(response: Response): Promise<string> {
	const text = await response.text();
	try {
		const { title, detail } = JSON.parse(text) as { title?: string; detail?: string };
		if (title !== undefined && response.status !== 404) return detail === undefined ? title : `${title} ${detail}`;
	} catch {
		// No problem document: it is told by its status below.
	}
	return `status ${response.status} from something that is not the admin API of a sidecar`;
}

function causeOf(thrown: unknown): string {
	return messageOf(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
}

function refuse(io: CliIo, message: string): number {
	io.stderr.write(`nexus tap: ${message}\n`);
	return 1;
}
