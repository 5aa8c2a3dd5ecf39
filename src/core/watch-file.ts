/**
 * Tells when the content of one file has changed, however that was done: written in place, renamed over, deleted and made
 * again, or one of the symbolic links on its way swapped, as Kubernetes does with mounted ConfigMaps.
 */
import { createHash } from "node:crypto";
import { type BigIntStats, closeSync, type FSWatcher, openSync, readSync, statSync, watch } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock, Timer } from "./clock.ts";
import { codeOf } from "./errors.ts";

// The system's events make it fast, looking makes it sure: network file systems send none, and a chain of links has more
// places than can be watched. One stat a second costs 20 us.
const POLL_MS = 1_000;
// A change is told once two looks this far apart agree, so that a file is not read while an editor still writes it.
const SETTLE_MS = 100;
// A file that never comes to rest (a log) is told about every second all the same.
const UNSETTLED_LOOKS_MAX = 10;
// Larger files are told apart by size and times alone; no file of ours may be as large.
const DIGEST_BYTES_MAX = 8n * 1024n * 1024n;
// Most files of ours are done in one read.
const PART_BYTES = 64 * 1024;

export interface WatchFileOptions {
	readonly clock: Clock;
	/** Once per change of content, deletion and return included; read the file then. `touch` and `chmod` change no content. */
	readonly onChange: () => void;
}

export interface FileWatch {
	/** Idempotent; nothing is called back after it. */
	stop(): void;
}

/**
 * Compares with what the file holds at the moment of the call, which is read synchronously: begin to watch before reading,
 * and no change is lost. The file, and its directory, may be missing. Never throws; does not keep the process alive.
 */
export function watchFile(path: string, options: WatchFileOptions): FileWatch {
	return new Watch(path, options);
}

/** `stamp` is cheap and changes with every write; `content` settles whether anything is different. */
interface Look {
	readonly stamp: string;
	readonly content: string;
}

class Watch implements FileWatch {
	readonly #path: string;
	readonly #options: WatchFileOptions;
	readonly #directories = new Map<string, { readonly id: string; readonly watcher: FSWatcher }>();
	/** What its owner knows of. */
	#told: Look;
	/** What the last look saw while a change had not settled. */
	#unsettled: string | undefined;
	#unsettledLooks = 0;
	#timer: Timer | undefined;
	/** Something happened since the present look began. */
	#stirred = false;
	#stopped = false;

	constructor(path: string, options: WatchFileOptions) {
		this.#path = path;
		this.#options = options;
		this.#told = firstLook(path);
		void this.#look();
	}

	stop(): void {
		this.#stopped = true;
		this.#timer?.cancel();
		for (const { watcher } of this.#directories.values()) watcher.close();
		this.#directories.clear();
	}

	#schedule(delayMs: number): void {
		this.#timer?.cancel();
		this.#timer = this.#options.clock.setTimer(delayMs, () => {
			this.#timer = undefined;
			void this.#look();
		});
	}

	/** Any event of the directory counts: which name the system gives for a swapped link differs, and looking is cheap. */
	#onEvent(): void {
		if (this.#stopped || this.#stirred) return;
		this.#stirred = true;
		if (this.#timer !== undefined) this.#schedule(SETTLE_MS);
	}

	async #look(): Promise<void> {
		this.#stirred = false;
		// Watching comes first: what happens before it is seen by looking, what happens after it stirs.
		await this.#watchDirectories();
		const stamp = await stampOf(this.#path);
		if (stamp !== this.#told.stamp) {
			if (stamp === this.#unsettled || this.#unsettledLooks >= UNSETTLED_LOOKS_MAX) await this.#settle(stamp);
			else {
				this.#unsettled = stamp;
				this.#unsettledLooks++;
			}
		} else this.#calm();
		if (!this.#stopped) this.#schedule(this.#unsettled !== undefined || this.#stirred ? SETTLE_MS : POLL_MS);
	}

	async #settle(stamp: string): Promise<void> {
		const content = await contentOf(this.#path, stamp);
		if (this.#stopped) return;
		const changed = content !== this.#told.content;
		this.#told = { stamp, content };
		this.#calm();
		if (changed) this.#options.onChange();
	}

	#calm(): void {
		this.#unsettled = undefined;
		this.#unsettledLooks = 0;
	}

	/** The directory of the path and that of the file it leads to; each as it is now, since directories are replaced as well. */
	async #watchDirectories(): Promise<void> {
		const wanted = new Set([dirname(this.#path)]);
		try {
			wanted.add(dirname(await realpath(this.#path)));
		} catch (missing) {
			// No such file now; the other directory tells when it comes, or the next poll does.
			if (codeOf(missing) === undefined) throw missing;
		}
		for (const directory of this.#directories.keys()) if (!wanted.has(directory)) this.#unwatch(directory);
		for (const directory of wanted) {
			const id = await directoryId(directory);
			if (this.#stopped) return;
			if (this.#directories.get(directory)?.id === id) continue;
			this.#unwatch(directory);
			if (id !== undefined) this.#watch(directory, id);
		}
	}

	#watch(directory: string, id: string): void {
		try {
			const watcher = watch(directory, { persistent: false }, () => this.#onEvent());
			watcher.on("error", () => this.#unwatch(directory));
			this.#directories.set(directory, { id, watcher });
		} catch (refused) {
			// Gone again, or no watches are left (ENOSPC): polling goes on, and each poll tries anew.
			if (codeOf(refused) === undefined) throw refused;
		}
	}

	#unwatch(directory: string): void {
		this.#directories.get(directory)?.watcher.close();
		this.#directories.delete(directory);
	}
}

/** Identity of a directory, undefined where there is none. */
async function directoryId(directory: string): Promise<string | undefined> {
	try {
		const { dev, ino } = await stat(directory);
		return `${dev}:${ino}`;
	} catch (missing) {
		if (codeOf(missing) === undefined) throw missing;
		return undefined;
	}
}

function firstLook(path: string): Look {
	const stamp = attemptSync(() => stampFrom(statSync(path, { bigint: true })));
	const content = isDigestible(stamp) ? attemptSync(() => digestSync(path)) : stamp;
	return { stamp, content };
}

async function stampOf(path: string): Promise<string> {
	try {
		return stampFrom(await stat(path, { bigint: true }));
	} catch (thrown) {
		return unreadable(thrown);
	}
}

async function contentOf(path: string, stamp: string): Promise<string> {
	if (!isDigestible(stamp)) return stamp;
	try {
		return digestOf(await readFile(path));
	} catch (thrown) {
		return unreadable(thrown);
	}
}

function attemptSync(run: () => string): string {
	try {
		return run();
	} catch (thrown) {
		return unreadable(thrown);
	}
}

// The time of the inode as well: `cp -p` and `rsync -t` keep that of the content, and chmod can make a file readable.
function stampFrom(stats: BigIntStats): string {
	const { dev, ino, size, mtimeNs, ctimeNs } = stats;
	// Reading a pipe would wait for its writer, and a device has no end.
	const kind = stats.isFile() && size <= DIGEST_BYTES_MAX ? "file" : "other";
	return `${kind} ${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

function isDigestible(stamp: string): boolean {
	return stamp.startsWith("file ");
}

function digestOf(content: Buffer): string {
	return createHash("sha256").update(content).digest("base64");
}

/** `readFileSync` would copy a small file into the pool of Buffers; of a key, all that stands beside it there could then show it. */
function digestSync(path: string): string {
	const file = openSync(path, "r");
	try {
		const part = Buffer.alloc(PART_BYTES);
		const digest = createHash("sha256");
		for (let length = readSync(file, part); length > 0; length = readSync(file, part)) digest.update(part.subarray(0, length));
		return digest.digest("base64");
	} finally {
		closeSync(file);
	}
}

/** Missing and unreadable are contents too, each told once. */
function unreadable(thrown: unknown): string {
	const code = codeOf(thrown);
	if (code === undefined) throw thrown;
	return `unreadable: ${code}`;
}
