/** The commands around the event log, with their options and help. */
import type { Command } from "commander";
import { systemClock } from "../core/clock.ts";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";
import type { LogBackupFlags, LogContext, LogCopyFlags, LogFlags } from "./log.ts";
import { nexusOptions } from "./shared-options.ts";

const AS_JSON = "JSON in a terminal as well";
const NAMING = `
LOG is the data directory of a log in files, or the configuration file (nexus.yaml) that chooses it. No Nexus may have it open, unless it is a
broker's; the running one is meant where none is named.`;

/** `stopSignal`: aborted by Ctrl-C and its kin. */
export function addLog(program: Command, io: CliIo, tools: LogContext["tools"], done: (code: number) => void, stopSignal: () => AbortSignal): void {
	const context = (): LogContext => ({ tools, clock: systemClock, signal: stopSignal() });
	const log = program
		.command("log")
		.description("the event log: look at it, back it up, restore, copy to another engine, verify")
		.addHelpText(
			"after",
			`${examples(
				["nexus log backup", "of the running Nexus, while it runs"],
				["nexus log copy --from .nexus/data --to kafka.yaml", "to the engine that kafka.yaml chooses; run it again where it was cut off"],
				["nexus log verify .nexus/data", "reads every event"],
			)}${NAMING}`,
		);

	nexusOptions(log.command("list").description("what is in a log, and the backups of the running one"))
		.argument("[log...]", "logs that are not open")
		.option("--json", AS_JSON)
		.addHelpText("after", `${examples(["nexus log list", "the running one"], ["nexus log list old-data kafka.yaml", "others"])}${NAMING}`)
		.action(async (logs: string[], options: LogFlags) => {
			const { runLogList } = await import("./log.ts");
			done(await runLogList(logs, options, io, context()));
		});

	nexusOptions(log.command("backup").description("a copy of all that is durable, with digests; the running one goes on meanwhile"))
		.argument("[name]", "of the backup of the running Nexus, which keeps it in its directory of backups (default: the time)")
		.option("--from <log>", "a log that is not open")
		.option("--to <dir>", "where its backup goes; must not exist")
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			`${examples(["nexus log backup before-upgrade", "of the running Nexus"], ["nexus log backup --from .nexus/data --to /mnt/b", "of one that is stopped"])}${NAMING}`,
		)
		.action(async (name: string | undefined, options: LogBackupFlags) => {
			const { runLogBackup } = await import("./log.ts");
			done(await runLogBackup(name, options, io, context()));
		});

	log
		.command("restore")
		.description("the data directory of a log from a backup, where every digest is right")
		.argument("<backup>", "directory of the backup")
		.argument("<dir>", "the new data directory; must be empty or not exist")
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus log restore /mnt/b .nexus/data", "then: nexus serve --data .nexus/data"]))
		.action(async (backup: string, dir: string, options: { json?: boolean }) => {
			const { runLogRestore } = await import("./log.ts");
			done(await runLogRestore(backup, dir, options, io, context()));
		});

	log
		.command("copy")
		.description("all events of a log into another, whatever keeps either; resumable, and compared at the end")
		.requiredOption("--from <log>", "the source")
		.requiredOption("--to <log>", "the target; empty, but for what an earlier run has copied")
		.option("--progress <file>", "says how far it is, until it is done", "nexus-log-copy.json")
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			`${examples(
				["nexus log copy --from .nexus/data --to nats.yaml", "from files to JetStream"],
				["nexus log copy --from nats.yaml --to ./archive", "and back"],
			)}${NAMING}
Sequences may differ in the target, so subscriptions begin anew there: give the new log a state of its own.`,
		)
		.action(async (options: LogCopyFlags) => {
			const { runLogCopy } = await import("./log.ts");
			done(await runLogCopy(options, io, context()));
		});

	nexusOptions(
		log.command("verify").description("read every event of a log, or compare a backup with its digests; exit code 1 where something is damaged"),
	)
		.argument("[log]", "a log that is not open, or a backup")
		.option("--json", AS_JSON)
		.addHelpText("after", `${examples(["nexus log verify", "the running one, as it can be read"], ["nexus log verify /mnt/b", "a backup"])}${NAMING}`)
		.action(async (which: string | undefined, options: LogFlags) => {
			const { runLogVerify } = await import("./log.ts");
			done(await runLogVerify(which, options, io, context()));
		});
}
