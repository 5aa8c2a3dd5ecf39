/**
 * Tells when the content behind a path has changed, however it was replaced: written in place, renamed over, or reached through a
 * symlink that now points elsewhere (as Kubernetes swaps `..data`). Events of the system make it quick, a look at the file makes it sure.
 */
import { type FSWatcher, type Stats, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Clock, Timer } from "./clock.ts";

/** The look that needs no events: they do not exist on network file systems, nor behind the target of a symlink. */
const POLL_MS = 1000;
/** Editors and tools write in several steps; what comes within this is one change. */
const SETTLE_MS = 50;

export interface WatchFileOptions {
	readonly clock: Clock;
	/** The file is there and differs from when this was last called, or from the start. Reading may still fail. */
	readonly onChange: () => void;
}

export interface FileWatch {
	/** Idempotent; nothing is called back after it. */
	stop(): void;
}

/** Never throws; a file that is not there is waited for. */
export function watchFile(path: string, options: WatchFileOptions): FileWatch {
	return new Watch(path, options);
}

class Watch implements FileWatch {
	readonly #path: string;
	readonly #options: WatchFileOptions;
	#watcher: FSWatcher | undefined;
	#poll: Timer | undefined;
	#settle: Timer | undefined;
	#seen: string;
	#stopped = false;

	constructor(path: string, options: WatchFileOptions) {
		this.#path = path;
		this.#options = options;
		this.#seen = fingerprint(path);
		this.#listen();
		this.#schedule();
	}

	stop(): void {
		this.#stopped = true;
		this.#watcher?.close();
		this.#poll?.cancel();
		this.#settle?.cancel();
	}

	#listen(): void {
		try {
			// The directory, not the file: a watch on the file follows the old inode when another is renamed over it.
			const name = basename(this.#path);
			this.#watcher = watch(dirname(this.#path), { persistent: false }, (_event, changed) => {
				if (changed === null || changed === name || changed.startsWith("..")) this.#look();
			});
			this.#watcher.on("error", () => {
				this.#watcher?.close();
				this.#watcher = undefined;
			});
		} catch {
			this.#watcher = undefined; // no such directory yet, or no watches left: polling does it
		}
	}

	#schedule(): void {
		this.#poll = this.#options.clock.setTimer(POLL_MS, () => {
			if (this.#watcher === undefined) this.#listen();
			this.#look();
			this.#schedule();
		});
	}

	#look(): void {
		if (this.#stopped) return;
		const now = fingerprint(this.#path);
		if (now === this.#seen) return;
		this.#settle?.cancel();
		this.#settle = this.#options.clock.setTimer(SETTLE_MS, () => this.#settled(now));
	}

	#settled(before: string): void {
		const now = fingerprint(this.#path);
		if (now !== before) {
			this.#look();
			return;
		}
		this.#seen = now;
		if (now !== MISSING) this.#options.onChange();
	}
}

const MISSING = "";

/** What differs when the content does: the inode behind all links, its size, and when it was written and changed. */
function fingerprint(path: string): string {
	let stats: Stats;
	try {
		stats = statSync(path);
	} catch {
		return MISSING;
	}
	return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`;
}
