/** What the rooms need of a log; the one writer stands in telemetry/ and is handed in by the composition root. */

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface Logger {
	debug(message: string, fields?: Record<string, unknown>): void;
	info(message: string, fields?: Record<string, unknown>): void;
	warn(message: string, fields?: Record<string, unknown>): void;
	error(message: string, fields?: Record<string, unknown>): void;
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
