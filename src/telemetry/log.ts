/** The one log of the process (law 10): JSON lines, with secrets replaced, through a writer that never blocks. */
import { type Clock, systemClock } from "../core/clock.ts";
import type { Logger, LogLevel } from "../core/log.ts";
import { LineWriter } from "./line-writer.ts";
import { redact } from "./redact.ts";

export const LOG_LEVELS: readonly LogLevel[] = Object.freeze(["debug", "info", "warn", "error"]);

export interface LogOptions {
	readonly level: LogLevel;
	/** A descriptor or a path. Default: standard error. */
	readonly destination?: number | string;
	/** Stands in each line, so that the logs of several processes can be told apart. */
	readonly fields?: Readonly<Record<string, string>>;
	readonly clock?: Clock;
}

export interface Log extends Logger {
	readonly level: LogLevel;
	/** Acts on the next line. */
	setLevel(level: LogLevel): void;
	/** Lines that could not be written. */
	readonly dropped: number;
	/** Until what was logged has left the process, at most `timeoutMs`. */
	flush(timeoutMs: number): Promise<void>;
	/** Blocking; for the last words before a fault ends the process. */
	flushSync(): void;
}

// 1 MiB of log that nobody reads is enough to see what happened first; access log lines have a room of their own.
const HELD_BYTES_MAX = 1024 * 1024;

/** Throws where the path cannot be opened. Field values may be errors, maps or anything else; `redact` makes them plain. */
export function createLogger(options: LogOptions): Log {
	const clock = options.clock ?? systemClock;
	const writer = new LineWriter({ destination: options.destination ?? 2, clock, batchLinesMax: 1, heldBytesMax: HELD_BYTES_MAX });
	let least = LOG_LEVELS.indexOf(options.level);
	const base = options.fields === undefined ? "" : members(options.fields);
	const at = (level: LogLevel): Logger[LogLevel] => {
		const rank = LOG_LEVELS.indexOf(level);
		return (message, fields) => {
			if (rank < least) return;
			const time = new Date(clock.wallMs()).toISOString();
			const own = fields === undefined ? "" : members(redact(fields));
			writer.write(`{"level":"${level}","time":"${time}"${base}${own},"message":${JSON.stringify(redact(message))}}\n`);
		};
	};
	return {
		debug: at("debug"),
		info: at("info"),
		warn: at("warn"),
		error: at("error"),
		get level() {
			return LOG_LEVELS[least] as LogLevel;
		},
		setLevel(level) {
			least = LOG_LEVELS.indexOf(level);
		},
		get dropped() {
			return writer.dropped;
		},
		flush: (timeoutMs) => writer.flush(timeoutMs),
		flushSync: () => writer.flushSync(),
	};
}

/** `,"name":value` for each member of an object. */
function members(fields: unknown): string {
	const list = JSON.stringify(fields).slice(1, -1);
	return list === "" ? "" : `,${list}`;
}
