/** `nexus log`: look at logs, back them up, restore, copy and verify them. What knows logs is handed in; this asks, shows and waits. */
import { type NexusClient, NexusError } from "../client/nexus-client.ts";
import { wait } from "../client/retry.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { bytesText, ProgressBar } from "./progress-bar.ts";
import { tableText } from "./table.ts";

interface Progress {
	readonly onProgress: (progress: { readonly bytes: number; readonly totalBytes: number }) => void;
	readonly signal: AbortSignal;
}

interface Held {
	readonly firstSequence: number;
	readonly lastSequence: number;
	readonly bytes: number;
}

/** Work on logs that no Nexus has open. Each rejects with a readable error. */
export interface LogTools {
	describe(log: string): Promise<Held & { readonly log: string; readonly engine: string; readonly durability: string }>;
	backup(log: string, dir: string, progress: Progress): Promise<Held>;
	restore(backup: string, dir: string, progress: Progress): Promise<Held>;
	verify(log: string, progress: Progress): Promise<Verified>;
	copy(wish: {
		readonly from: string;
		readonly to: string;
		readonly progressFile: string;
		readonly signal: AbortSignal;
		readonly onProgress: (done: number, total: number) => void;
	}): Promise<{
		readonly copied: number;
		readonly duplicates: number;
		readonly damaged: number;
		readonly after: number;
		readonly wasResumed: boolean;
	}>;
}

interface Verified extends Held {
	/** Undefined for a backup. */
	readonly events: number | undefined;
	readonly damaged: readonly { readonly first: number; readonly last: number }[];
	readonly recovered: readonly string[];
}

export interface LogContext {
	/** `warn`: what is found on the way. */
	readonly tools: (warn: (text: string) => void) => Promise<LogTools>;
	readonly clock: Clock;
	readonly signal: AbortSignal;
}

export interface LogFlags extends NexusFlags {
	readonly json?: boolean;
}

const POLL_MS = 200;

/** Those that are named, or that of a running Nexus with its backups. */
export function runLogList(logs: readonly string[], flags: LogFlags, io: CliIo, context: LogContext): Promise<number> {
	if (logs.length > 0) {
		return offline("log list", io, context, async (tools) => {
			const rows: Awaited<ReturnType<LogTools["describe"]>>[] = [];
			for (const log of logs) rows.push(await tools.describe(log));
			show(flags, io, { logs: rows }, () =>
				tableText(
					["LOG", "ENGINE", "ACKNOWLEDGED MEANS", "FIRST", "LAST", "SIZE"],
					rows.map((row) => [row.log, row.engine, row.durability, String(row.firstSequence), String(row.lastSequence), bytesText(row.bytes)]),
				),
			);
			return 0;
		});
	}
	return withNexus("log list", flags, io, async ({ client, origin }) => {
		const { log } = await client.log.status();
		// Whoever may read the status need not be one who may make backups.
		const backups = await client.log.backups().catch((thrown: unknown) => {
			if (thrown instanceof NexusError && thrown.status === 403) return undefined;
			throw thrown;
		});
		show(flags, io, { log, backups }, () => {
			const rows = [[origin, log.engine, log.durability, String(log.firstSequence), String(log.lastSequence), bytesText(log.bytes)]];
			const text = tableText(["LOG", "ENGINE", "ACKNOWLEDGED MEANS", "FIRST", "LAST", "SIZE"], rows);
			if (backups === undefined || backups.length === 0) return text;
			const made = backups.map(({ name, state, lastSequence, bytes, dir }) => [
				name,
				state === "unknown" ? "whole" : state,
				lastSequence === undefined ? "-" : String(lastSequence),
				state === "unknown" ? "-" : bytesText(bytes),
				dir,
			]);
			return `${text}\n${tableText(["BACKUP", "STATE", "LAST", "SIZE", "WHERE"], made)}`;
		});
		return 0;
	});
}

export interface LogBackupFlags extends LogFlags {
	/** A log that no Nexus has open; without it the running one is asked. */
	readonly from?: string;
	/** Directory of the backup of `from`. */
	readonly to?: string;
}

/** `name`: of the backup of a running Nexus, which keeps it. */
export function runLogBackup(name: string | undefined, flags: LogBackupFlags, io: CliIo, context: LogContext): Promise<number> {
	const { from, to } = flags;
	if ((from === undefined) !== (to === undefined) || (from !== undefined && name !== undefined)) {
		return refused("log backup", io, "--from LOG and --to DIR belong together; a NAME is for the log of a running Nexus");
	}
	if (from !== undefined && to !== undefined) {
		return offline("log backup", io, context, async (tools) => {
			const report = await withBar("backing up", "bytes", io, context, (bar) => tools.backup(from, to, progressOn(bar, context)));
			show(flags, io, { backup: to, ...report }, () => `${heldText(report)} are in ${to}\n`);
			return 0;
		});
	}
	return withNexus("log backup", flags, io, async ({ client }) => {
		let view = await client.log.startBackup(name);
		await withBar("backing up", "bytes", io, context, async (bar) => {
			while (view.state === "running") {
				bar.tell(view.bytes, view.totalBytes);
				await wait(POLL_MS, context.clock, context.signal).catch(() => {});
				if (context.signal.aborted) throw new CommandRefused(`the backup ${view.name} goes on without us; \`nexus log list\` shows it`);
				view = await client.log.backup(view.name);
			}
		});
		if (view.state !== "done") throw new CommandRefused(`the backup was not made: ${view.error ?? "unknown"}`);
		const { firstSequence = 0, lastSequence = 0, bytes } = view;
		show(flags, io, view, () => `${heldText({ firstSequence, lastSequence, bytes })} are in ${view.dir}, on the machine of Nexus\n`);
		return 0;
	});
}

export function runLogRestore(backup: string, dir: string, flags: { readonly json?: boolean }, io: CliIo, context: LogContext): Promise<number> {
	return offline("log restore", io, context, async (tools) => {
		const report = await withBar("restoring", "bytes", io, context, (bar) => tools.restore(backup, dir, progressOn(bar, context)));
		show(flags, io, { dir, ...report }, () => `${heldText(report)} are in ${dir}: start it with \`nexus serve --data ${dir}\`\n`);
		return 0;
	});
}

export interface LogCopyFlags {
	readonly from: string;
	readonly to: string;
	/** File that says how far it is. */
	readonly progress: string;
	readonly json?: boolean;
}

export function runLogCopy(flags: LogCopyFlags, io: CliIo, context: LogContext): Promise<number> {
	const { from, to, progress: progressFile } = flags;
	return offline("log copy", io, context, async (tools) => {
		const report = await withBar("copying", "events", io, context, (bar) =>
			tools.copy({ from, to, progressFile, signal: context.signal, onProgress: (done, total) => bar.tell(done, total) }),
		);
		show(flags, io, { from, to, ...report }, () => {
			const { copied, duplicates, damaged, wasResumed } = report;
			const notes = [
				wasResumed ? "gone on from an earlier run" : "",
				duplicates > 0 ? `${duplicates} were there already` : "",
				damaged > 0 ? `${damaged} sequences were damaged in the source` : "",
			];
			return `${copied} events copied and compared${notes
				.filter((note) => note !== "")
				.map((note) => `; ${note}`)
				.join("")}\n`;
		});
		return 0;
	});
}

/** All of a log, a backup, or of what a running Nexus can read. 1 where something is damaged. */
export function runLogVerify(log: string | undefined, flags: LogFlags, io: CliIo, context: LogContext): Promise<number> {
	if (log === undefined) {
		return withNexus("log verify", flags, io, async ({ client }) =>
			verdict(await withBar("verifying", "events", io, context, (bar) => verifyRunning(client, bar, context).catch(ended(context))), flags, io),
		);
	}
	return offline("log verify", io, context, async (tools) => {
		return verdict(await withBar("verifying", "events", io, context, (bar) => tools.verify(log, progressOn(bar, context))), flags, io);
	});
}

async function verifyRunning(client: NexusClient, bar: ProgressBar, { signal }: LogContext): Promise<Verified> {
	const { log } = await client.log.status();
	const damaged: { first: number; last: number }[] = [];
	let events = 0;
	for await (const page of client.pages({ after: 0 }, { signal })) {
		events += page.events.length;
		damaged.push(...(page.damaged ?? []));
		if (page.next === null) break;
		bar.tell(Math.max(0, page.next - log.firstSequence + 1), Math.max(0, log.lastSequence - log.firstSequence + 1));
		// What comes meanwhile is for the next one to verify.
		if (page.next >= log.lastSequence) break;
	}
	const { firstSequence, lastSequence, bytes } = log;
	return { firstSequence, lastSequence, bytes, events, damaged, recovered: [] };
}

/** What is thrown as it is told to end is no fault. */
function ended({ signal }: LogContext): (thrown: unknown) => never {
	return (thrown) => {
		throw signal.aborted ? new CommandRefused("ended") : thrown;
	};
}

function verdict(report: Verified, flags: { readonly json?: boolean }, io: CliIo): number {
	const { events, damaged, recovered } = report;
	const lost = damaged.reduce((sum, { first, last }) => sum + last - first + 1, 0);
	show(flags, io, report, () => {
		const mended = recovered.map((note) => `found at the start, and mended: ${note}\n`).join("");
		if (lost > 0)
			return `${mended}${lost} sequences cannot be read: ${damaged.map(({ first, last }) => (first === last ? first : `${first}-${last}`)).join(", ")}\n`;
		return `${mended}${events === undefined ? heldText(report) : `${events} events, sequences ${report.firstSequence} to ${report.lastSequence},`} are whole\n`;
	});
	return lost > 0 ? 1 : 0;
}

function heldText({ firstSequence, lastSequence, bytes }: Held): string {
	return lastSequence < firstSequence ? "no events" : `sequences ${firstSequence} to ${lastSequence} (${bytesText(bytes)})`;
}

function show(flags: { readonly json?: boolean }, io: CliIo, json: unknown, text: () => string): void {
	io.stdout.write(flags.json === true || !io.stdout.isTTY ? `${JSON.stringify(json)}\n` : text());
}

function progressOn(bar: ProgressBar, { signal }: LogContext): Progress {
	return { signal, onProgress: ({ bytes, totalBytes }) => bar.tell(bytes, totalBytes) };
}

async function withBar<T>(
	title: string,
	unit: "bytes" | "events",
	io: CliIo,
	{ clock }: LogContext,
	work: (bar: ProgressBar) => Promise<T>,
): Promise<T> {
	const bar = new ProgressBar(io.stderr, clock, title, unit);
	try {
		return await work(bar);
	} finally {
		bar.end();
	}
}

async function offline(command: string, io: CliIo, context: LogContext, work: (tools: LogTools) => Promise<number>): Promise<number> {
	try {
		return await work(await context.tools((text) => io.stderr.write(`${text}\n`)));
	} catch (thrown) {
		return refused(command, io, context.signal.aborted ? "ended" : messageOf(thrown));
	}
}

async function refused(command: string, io: CliIo, message: string): Promise<number> {
	io.stderr.write(`nexus ${command}: ${message}\n`);
	return 1;
}
