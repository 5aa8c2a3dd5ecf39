/** argv -> role. The composition root of the process: hands the products to the command line, and is alone in ending the process. */
import { readFileSync, writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { availableParallelism } from "node:os";
import { inspect } from "node:util";
import { setFlagsFromString } from "node:v8";
import { systemClock } from "./core/clock.ts";
import { codeOf, messageOf } from "./core/errors.ts";

// By then a start is over; a process that is killed later leaves its compiled sources to the next one.
const FLUSH_COMPILE_CACHE_AFTER_MS = 2_000;
// The longest that a timer can be, 24 days.
const KEEP_ALIVE_MS = 2 ** 31 - 1;
// EX_SOFTWARE of sysexits.h: a fault of ours.
const EXIT_FAULT = 70;
/**
 * V8 doubles its young generation under load and never gives it back: 17 MB idle, and 7.2 KB instead of 4.9 for each idle connection.
 * Left at its first size, collections are more frequent and cheaper; CPU per request stayed the same (docs/decisions/0003).
 */
const SIDECAR_V8_FLAGS = "--semi-space-growth-factor=1";
/** What stands still while the old generation is collected stands in every event's way: less often, at the cost of memory (docs/decisions/0107). */
const NEXUS_V8_FLAGS = "--heap-growing-percent=300";
/** On one core the threads that mark take turns with the loop, three of four. */
const ONE_CORE_V8_FLAGS = "--no-concurrent-marking";

// Each role is loaded when it is asked for: a sidecar pays neither for Nexus nor for the other commands.
const roles = {
	sidecar: async (options: { configFile: string }): Promise<number> => {
		// Before anything of it is loaded: what has grown does not shrink.
		setFlagsFromString(SIDECAR_V8_FLAGS);
		return (await import("./sidecar/run.ts")).runSidecar(options);
	},
	serve: async (options: { configFile?: string; listen?: string; dataDir?: string }): Promise<number> => {
		setFlagsFromString(NEXUS_V8_FLAGS);
		if (availableParallelism() === 1) setFlagsFromString(ONE_CORE_V8_FLAGS);
		return (await import("./nexus/run.ts")).runNexus(options);
	},
	logTools: async (warn: (text: string) => void) => new (await import("./nexus/backup/log-tools.ts")).LogTools(warn),
};

guardProcess();
followParent();
systemClock.setTimer(FLUSH_COMPILE_CACHE_AFTER_MS, flushCompileCache);
// Nothing is due then: it keeps the loop from running empty while a command waits on timers that hold nothing alive (a drain, a
// poll, a child that has just died). The next line is how this process ends, and the only way.
setInterval(() => {}, KEEP_ALIVE_MS);
process.exit(await main(process.argv.slice(2)));

async function main(argv: string[]): Promise<number> {
	// The way every sidecar of a mesh is started: without the command line's parser, which takes 13-17 ms to load.
	const [command, option, configFile] = argv;
	if (argv.length === 3 && command === "sidecar" && option === "--config" && configFile !== undefined && !configFile.startsWith("-")) {
		return roles.sidecar({ configFile });
	}
	// The roles have their own writers: a log that nobody reads is no reason to stop carrying traffic.
	if (command !== "sidecar" && command !== "serve") guardOutput();
	const [{ runProgram }, { processIo }] = await Promise.all([import("./cli/program.ts"), import("./cli/io.ts")]);
	const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
	return runProgram(argv, roles, processIo(), version);
}

function guardProcess(): void {
	process.on("uncaughtException", (error) => fault("uncaught exception", error));
	process.on("unhandledRejection", (reason) => fault("unhandled rejection", reason));
}

/** For commands that a person reads: when the reader has gone away (`nexus events | head`), nothing is left to do and nothing went wrong. */
function guardOutput(): void {
	process.stdout.on("error", (error) => {
		if (codeOf(error) === "EPIPE") process.exit(0);
		fault("standard output", error);
	});
	process.stderr.on("error", () => {});
}

/** One JSON line, as the logs of the roles, written before the process ends. */
function fault(what: string, thrown: unknown): never {
	const line = {
		level: "fatal",
		time: new Date(systemClock.wallMs()).toISOString(),
		message: `a fault of ours: ${what}: ${messageOf(thrown)}`,
		stack: inspect(thrown),
	};
	try {
		writeSync(2, `${JSON.stringify(line)}\n`);
	} catch {
		// Standard error is closed; the exit code still tells.
	}
	process.exit(EXIT_FAULT);
}

/**
 * Whoever starts us with this variable holds the other end of our channel. Its end means that it was killed: we stop in
 * order, rather than run on as an orphan.
 */
function followParent(): void {
	if (process.env.NEXUS_STOP_WITH_PARENT === undefined) return;
	// Not for those whom we start ourselves: they have no such channel.
	delete process.env.NEXUS_STOP_WITH_PARENT;
	const stop = (): void => void process.kill(process.pid, "SIGTERM");
	if (!process.connected) stop();
	process.on("disconnect", stop);
	process.channel?.unref();
}
