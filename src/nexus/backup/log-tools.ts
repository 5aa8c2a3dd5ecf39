/** Work on logs that no Nexus has open, for `nexus log`: a log is named by its directory, or by the configuration file that chooses it. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { systemClock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { writePublicFile } from "../../core/secret-file.ts";
import { formatFaults } from "../../policy/fault.ts";
import { loadNexusConfig } from "../config/config.ts";
import type { StateChoice } from "../config/engine-choice.ts";
import { withoutSecrets } from "../config/secret-source.ts";
import { logConfig, logName, STATE_FILE } from "../engines/engines.ts";
import { type BackupOptions, type BackupReport, restoreLog, verifyBackup } from "../log/backup.ts";
import { isBackup } from "../log/backup-manifest.ts";
import { type CopyState, copyLog } from "../log/copy-log.ts";
import type { EventLog } from "../log/event-log.ts";
import { openLog } from "../log/open-log.ts";
import { openState } from "../state/open-state.ts";
import type { StateStore } from "../state/state-store.ts";
import { companionOf } from "./backup-companion.ts";

export interface LogDescription {
	readonly log: string;
	readonly engine: string;
	readonly durability: string;
	readonly firstSequence: number;
	readonly lastSequence: number;
	readonly bytes: number;
}

export interface VerifyReport {
	readonly firstSequence: number;
	readonly lastSequence: number;
	/** Undefined for a backup, whose files are compared and not read. */
	readonly events: number | undefined;
	readonly bytes: number;
	/** Sequences that cannot be read. */
	readonly damaged: readonly { readonly first: number; readonly last: number }[];
	/** What the start of the log has found and mended. */
	readonly recovered: readonly string[];
}

export interface CopyWish {
	readonly from: string;
	readonly to: string;
	/** Where the copy keeps how far it is; goes on from there where it exists. */
	readonly progressFile: string;
	readonly signal: AbortSignal;
	readonly onProgress: (done: number, total: number) => void;
}

export interface CopyReport extends CopyState {
	readonly wasResumed: boolean;
}

const READ_EVENTS = 1_000;
const DAMAGED_SHOWN_MAX = 1_000;
const NEVER = { bytesMax: Number.POSITIVE_INFINITY, ageMsMax: Number.POSITIVE_INFINITY };

/** A segment, also a damaged one; or what Nexus writes before there is one. */
const OF_A_LOG = /^\d{16}\.log|^node\.id$/;

const progressSchema = z.strictObject({
	from: z.string(),
	to: z.string(),
	state: z.strictObject({
		after: z.int().nonnegative(),
		base: z.int().nonnegative(),
		copied: z.int().nonnegative(),
		duplicates: z.int().nonnegative(),
		damaged: z.int().nonnegative(),
	}),
});

/** Each of them rejects with a readable error. `warn`: what is found on the way. */
export class LogTools {
	readonly #logger: Logger;

	constructor(warn: (text: string) => void) {
		const tell = (message: string, fields?: object): void => warn(fields === undefined ? message : `${message} ${JSON.stringify(fields)}`);
		this.#logger = { debug() {}, info() {}, warn: tell, error: tell };
	}

	async describe(spec: string): Promise<LogDescription> {
		return this.#with(spec, true, async (log) => {
			const { backend, durability } = log.capabilities;
			const { firstSequence, lastSequence, bytes } = log.stats();
			return { log: spec, engine: backend, durability, firstSequence, lastSequence, bytes };
		});
	}

	/** With the state that goes with it. */
	backup(spec: string, dir: string, options: BackupOptions): Promise<BackupReport> {
		const { state: choice, dir: dataDir } = chosen(spec, true);
		return this.#with(spec, true, async (log) => {
			if (log.backup === undefined) {
				const { backend, features } = log.capabilities;
				throw new Error(`the log ${backend} has no backup of ours: ${features.backup.note ?? "no"}; \`nexus log copy\` to a directory makes one`);
			}
			const state = await fileOfState(choice, dataDir);
			try {
				return await log.backup(dir, { ...options, companion: companionOf(state ?? { engine: choice.engine }, dataDir) });
			} finally {
				await state?.close();
			}
		});
	}

	restore(backup: string, dir: string, options: BackupOptions): Promise<BackupReport> {
		return restoreLog(backup, dir, options);
	}

	/** Reads all of it. `spec` may be a backup, whose files are compared with their digests. */
	async verify(spec: string, { onProgress, signal }: BackupOptions): Promise<VerifyReport> {
		if (isBackup(spec)) {
			const report = await verifyBackup(spec, { ...(onProgress && { onProgress }), ...(signal && { signal }) });
			return { ...report, events: undefined, damaged: [], recovered: [] };
		}
		return this.#with(spec, true, async (log, recovered) => {
			const { firstSequence, lastSequence, bytes } = log.stats();
			const damaged: { first: number; last: number }[] = [];
			let events = 0;
			let after = 0;
			for (let atEnd = false; !atEnd; ) {
				signal?.throwIfAborted();
				const page = await log.read({ order: "asc", after, limit: READ_EVENTS });
				for (const { sequence, json } of page.events) {
					if (sequence <= after) throw new Error(`sequence ${sequence} comes behind ${after}: the log is not in order`);
					after = sequence;
					if (!isJson(json)) damaged.push({ first: sequence, last: sequence });
				}
				events += page.events.length;
				if (damaged.length < DAMAGED_SHOWN_MAX) damaged.push(...page.damaged);
				after = page.scannedTo;
				atEnd = page.atEnd;
				onProgress?.({ bytes: Math.max(0, after - firstSequence + 1), totalBytes: Math.max(0, lastSequence - firstSequence + 1) });
			}
			return { firstSequence, lastSequence, events, bytes, damaged, recovered };
		});
	}

	/** Goes on where an earlier copy between the same two ended, and compares both at the end. */
	async copy({ from, to, progressFile, signal, onProgress }: CopyWish): Promise<CopyReport> {
		const [source, target] = [nameOf(from), nameOf(to)];
		if (source === target) throw new Error("both are the same log");
		const resume = progressOf(progressFile, source, target);
		return this.#with(from, true, (fromLog) =>
			this.#with(to, false, async (toLog) => {
				const outcome = await copyLog({
					from: fromLog,
					to: toLog,
					signal,
					...(resume === undefined ? {} : { resume }),
					async onProgress(state, last) {
						await writePublicFile(progressFile, `${JSON.stringify({ from: source, to: target, state })}\n`);
						onProgress(state.after, last);
					},
				});
				if (!outcome.ok) {
					const again = outcome.failure === "differs" || outcome.failure === "not-empty" ? "" : "; run it again to go on from there";
					throw new Error(`${outcome.detail}${again}`);
				}
				rmSync(progressFile, { force: true });
				return { ...outcome.state, wasResumed: resume !== undefined };
			}),
		);
	}

	async #with<T>(spec: string, mustExist: boolean, use: (log: EventLog, recovered: readonly string[]) => Promise<T>): Promise<T> {
		const { choice, dir, retention } = chosen(spec, mustExist);
		// Nothing is forgotten by looking at it; only a stream that is made now gets the limits that it will live with.
		const limits = choice.backend === "rabbitmq" ? retention : NEVER;
		const { log, recovery } = await openLog(logConfig(choice, dir), {
			clock: systemClock,
			log: this.#logger,
			...(choice.backend === "embedded" || choice.backend === "rabbitmq" ? { retention: limits } : {}),
		});
		try {
			return await use(
				log,
				recovery.map(({ kind, ...fields }) => `${kind} ${JSON.stringify(fields)}`),
			);
		} finally {
			await log.close();
		}
	}
}

function chosen(spec: string, mustExist: boolean) {
	const stat = existsSync(spec) ? statSync(spec) : undefined;
	if (stat?.isFile() === true) {
		const text = readFileSync(spec, "utf8");
		const loaded = loadNexusConfig(text, spec, process.env);
		if (!loaded.ok) throw new Error(`\n${formatFaults(loaded.faults, withoutSecrets(text))}`);
		const { log: choice, state, dataDir: dir, retention } = loaded.config;
		if (choice.backend === "memory") throw new Error(`${spec} chooses a log in memory, which is only in its process`);
		return { choice, state, dir, retention };
	}
	if (stat === undefined && mustExist) throw new Error(`${spec} is neither a directory nor a configuration file`);
	if (stat !== undefined && mustExist && !isBackup(spec) && !readdirSync(spec).some((name) => OF_A_LOG.test(name))) {
		throw new Error(`${spec} holds no log: there is no file in it as in 0000000000000001.log`);
	}
	if (isBackup(spec)) throw new Error(`${spec} is a backup: restore it first (\`nexus log restore ${spec} DIR\`)`);
	return { choice: { backend: "embedded" } as const, state: { engine: "sqlite" } as const, dir: spec, retention: NEVER };
}

/** Undefined where the state is no file, or was never opened. Rejects where somebody has it open. */
async function fileOfState(choice: StateChoice, dataDir: string): Promise<StateStore | undefined> {
	if (choice.engine !== "sqlite") return undefined;
	const file = choice.file ?? join(dataDir, STATE_FILE);
	if (!existsSync(file)) return undefined;
	const opened = await openState({ engine: "sqlite", file });
	if (!opened.ok) throw new Error(`the state cannot be opened: ${opened.detail}`);
	return opened.store;
}

/** Of the log itself, whatever the names of the files that choose it. */
function nameOf(spec: string): string {
	const { choice, dir } = chosen(spec, false);
	return choice.backend === "embedded"
		? `embedded ${resolve(dir)}`
		: `${choice.backend} ${logName(choice)} ${"servers" in choice ? choice.servers.join() : resolve(spec)}`;
}

function progressOf(file: string, from: string, to: string): CopyState | undefined {
	if (!existsSync(file)) return undefined;
	let known: z.infer<typeof progressSchema>;
	try {
		known = progressSchema.parse(JSON.parse(readFileSync(file, "utf8")));
	} catch (thrown) {
		throw new Error(`${file} does not say how far a copy is (${messageOf(thrown).slice(0, 200)}); remove it to begin anew`, { cause: thrown });
	}
	if (known.from === from && known.to === to) return known.state;
	throw new Error(`${file} is of another copy, from ${known.from} to ${known.to}; name another file with --progress`);
}

function isJson(bytes: Buffer): boolean {
	try {
		JSON.parse(bytes.toString());
		return true;
	} catch {
		return false;
	}
}
