/** Backups of log and state while Nexus runs: one at a time, each under a name in one directory. */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { type Companion, PARTIAL } from "../log/backup.ts";
import { isBackup } from "../log/backup-manifest.ts";
import type { EventLog } from "../log/event-log.ts";
import { makeDirectory } from "../log/segment.ts";

export interface BackupsOptions {
	readonly log: EventLog;
	/** Goes with the log. */
	readonly companion: Companion;
	readonly dir: string;
	readonly clock: Clock;
	readonly logger: Logger;
}

export interface BackupView {
	readonly name: string;
	/** On the machine of this Nexus. */
	readonly dir: string;
	/** `unknown`: made by an earlier process. */
	readonly state: "running" | "done" | "failed" | "unknown";
	readonly bytes: number;
	readonly totalBytes: number;
	readonly firstSequence?: number;
	readonly lastSequence?: number;
	/** What is not in it, and why. */
	readonly missing?: string;
	/** ISO 8601. */
	readonly startedAt?: string;
	readonly error?: string;
}

/** `unsupported`: the log cannot do it, as `detail` says. */
export type BackupStart =
	| { readonly ok: true; readonly backup: BackupView }
	| { readonly ok: false; readonly failure: "unsupported" | "busy" | "exists"; readonly detail: string };

/** What is being made is named by PARTIAL. */
export const BACKUP_NAME = /^(?!.*\.partial$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** No file of a backup takes an hour: one that has got none for so long was left by a crash. Other nodes may have theirs beside it. */
const LEFT_AFTER_MS = 3_600_000;

export class Backups {
	readonly #options: BackupsOptions;
	/** Of this process. */
	readonly #made = new Map<string, BackupView>();
	#running: { readonly name: string; readonly done: Promise<void>; readonly abort: AbortController } | undefined;

	constructor(options: BackupsOptions) {
		this.#options = options;
	}

	/** Begins it; `get` says how far it is. `name` undefined: that of this second. */
	start(wanted: string | undefined): BackupStart {
		const { log, companion, dir, clock, logger } = this.#options;
		const startedAt = new Date(clock.wallMs()).toISOString();
		const name = wanted ?? startedAt.slice(0, 19).replaceAll(":", "-");
		if (log.backup === undefined) {
			const { backend, features } = log.capabilities;
			return { ok: false, failure: "unsupported", detail: `The log ${backend} has no backup of its own: ${features.backup.note ?? "no"}.` };
		}
		if (this.#running !== undefined) return { ok: false, failure: "busy", detail: `The backup ${this.#running.name} is being made.` };
		const path = join(dir, name);
		if (existsSync(path)) return { ok: false, failure: "exists", detail: `There is a backup ${name} already.` };
		makeDirectory(dir);
		this.#removeLeft();
		let view: BackupView = { name, dir: path, state: "running", bytes: 0, totalBytes: 0, startedAt };
		const tell = (change: Partial<BackupView>): void => {
			view = { ...view, ...change };
			this.#made.set(name, view);
		};
		tell({});
		const abort = new AbortController();
		const done = log.backup(path, { onProgress: tell, signal: abort.signal, companion }).then(
			(report) => {
				tell({ ...report, totalBytes: report.bytes, state: "done" });
				logger.info("a backup was made", { backup: path, ...report });
			},
			(thrown: unknown) => {
				tell({ state: "failed", error: messageOf(thrown) });
				logger.error("a backup could not be made", { backup: path, error: messageOf(thrown) });
			},
		);
		this.#running = { name, abort, done: done.finally(() => (this.#running = undefined)) };
		return { ok: true, backup: view };
	}

	get(name: string): BackupView | undefined {
		return this.#made.get(name) ?? this.#found().find((each) => each.name === name);
	}

	/** By name. */
	list(): BackupView[] {
		const made = [...this.#made.values()];
		const others = this.#found().filter(({ name }) => !this.#made.has(name));
		return [...made, ...others].sort((a, b) => (a.name < b.name ? -1 : 1));
	}

	/** One that is under way ends, and leaves nothing behind. */
	async close(): Promise<void> {
		this.#running?.abort.abort(new Error("Nexus is shutting down"));
		await this.#running?.done;
	}

	#removeLeft(): void {
		const { dir, clock, logger } = this.#options;
		for (const name of readdirSync(dir)) {
			if (!name.endsWith(PARTIAL) || !BACKUP_NAME.test(name.slice(0, -PARTIAL.length))) continue;
			const path = join(dir, name);
			const stat = statSync(path, { throwIfNoEntry: false });
			if (stat?.isDirectory() !== true || clock.wallMs() - stat.mtimeMs < LEFT_AFTER_MS) continue;
			rmSync(path, { recursive: true, force: true });
			logger.warn("what a backup that was cut off had left is removed", { backup: path });
		}
	}

	#found(): BackupView[] {
		const { dir } = this.#options;
		if (!existsSync(dir)) return [];
		return readdirSync(dir)
			.filter((name) => BACKUP_NAME.test(name) && isBackup(join(dir, name)))
			.map((name) => ({ name, dir: join(dir, name), state: "unknown", bytes: 0, totalBytes: 0 }));
	}
}
