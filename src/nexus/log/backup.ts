/**
 * Copies of an embedded log, with what belongs to it: taken while it runs, with a digest of every file; restored only where every digest is
 * right.
 */
import { createHash } from "node:crypto";
import { closeSync, createReadStream, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type BesideLog, type Manifest, readManifest, writeManifest } from "./backup-manifest.ts";
import { makeDirectory, type Segment, syncDirectory } from "./segment.ts";

export interface CopyProgress {
	readonly bytes: number;
	readonly totalBytes: number;
}

/** What is backed up with a log. */
export interface Companion {
	/** Writes its files into the directory, of mode 0600 and durable. `missing`: what cannot be in it, and why. */
	copyInto(dir: string): Promise<{ readonly names: readonly BesideLog[]; readonly missing?: string }>;
}

export interface BackupOptions {
	/** Called after each piece. */
	readonly onProgress?: (progress: CopyProgress) => void;
	/** Ends the work; nothing of it is left behind. */
	readonly signal?: AbortSignal;
	/** Copied before the log: positions in it are never ahead of the log's end. */
	readonly companion?: Companion;
}

export interface BackupReport {
	/** What the copy holds; `lastSequence` is 0 where the log was empty. */
	readonly firstSequence: number;
	readonly lastSequence: number;
	readonly bytes: number;
	/** What is not in it, and why. */
	readonly missing?: string;
}

/** Behind the name of a directory that is being made; one that a crash has left is made anew. */
export const PARTIAL = ".partial";
const PIECE_BYTES = 1024 * 1024;
const LOG_ALONE = "it is of the log alone";

/**
 * Copies what is durable at this moment into `dir`, which must not exist yet; it appears when it is whole and on disk. Rejects with a readable
 * error otherwise. Retention and compaction go on meanwhile: the files are held. `ofLog`: its segments now.
 */
export async function backupSegments(ofLog: () => readonly Segment[], dir: string, options: BackupOptions = {}): Promise<BackupReport> {
	refuseExisting(dir);
	return inPlaceOf(dir, async (partial) => {
		const beside = options.companion === undefined ? { format: 1 as const } : await copyBeside(partial, options.companion);
		const before = besideBytes(beside);
		options.signal?.throwIfAborted();
		// The segment that is being written ends here for the copy.
		const parts = ofLog().map((segment) => ({ segment, end: segment.end, last: segment.lastSequence }));
		for (const { segment } of parts) segment.hold();
		try {
			const firstSequence = parts[0]?.segment.header.firstSequence ?? 1;
			const lastSequence = parts.at(-1)?.last ?? 0;
			const totalBytes = parts.reduce((sum, { end }) => sum + end, before);
			const files: Manifest["files"] = [];
			let done = before;
			for (const { segment, end } of parts) {
				const name = basename(segment.path);
				const readAt = (offset: number, length: number): Promise<Buffer | undefined> => segment.readAt(offset, length);
				const sha256 = await copyPieces(join(partial, name), end, readAt, (bytes) => {
					done += bytes;
					step(options, { bytes: done, totalBytes });
				});
				files.push({ name, bytes: end, sha256 });
			}
			const manifest: Manifest = { firstSequence, lastSequence, files, ...beside };
			writeManifest(partial, manifest);
			return { firstSequence, lastSequence, bytes: totalBytes, ...(manifest.missing === undefined ? {} : { missing: manifest.missing }) };
		} finally {
			for (const { segment } of parts) segment.release();
		}
	});
}

/**
 * Makes a data directory from a backup; `dataDir` must not exist or be empty, and appears when every file is there with the right digest. Rejects
 * with a readable error otherwise.
 */
export async function restoreLog(backupDir: string, dataDir: string, options: BackupOptions = {}): Promise<BackupReport> {
	const manifest = readManifest(backupDir);
	refuseExisting(dataDir);
	const report = reportOf(manifest);
	return inPlaceOf(dataDir, async (partial) => {
		let done = 0;
		for (const { name, bytes, sha256 } of filesOf(manifest)) {
			const source = join(backupDir, name);
			const file = await opened(source);
			try {
				const readAt = async (offset: number, length: number): Promise<Buffer> => {
					const { buffer, bytesRead } = await file.read(Buffer.allocUnsafeSlow(length), 0, length, offset);
					if (bytesRead !== length) throw new Error(`${source} is not what was backed up: it is shorter`);
					return buffer;
				};
				const actual = await copyPieces(join(partial, name), bytes, readAt, (copied) => {
					done += copied;
					step(options, { bytes: done, totalBytes: report.bytes });
				});
				if (actual !== sha256) throw new Error(`${source} is not what was backed up: its digest differs`);
			} finally {
				await file.close();
			}
		}
		return report;
	});
}

/** Reads every file of a backup and compares it with its digest. Rejects with a readable error where one differs. */
export async function verifyBackup(backupDir: string, options: BackupOptions = {}): Promise<BackupReport> {
	const manifest = readManifest(backupDir);
	const report = reportOf(manifest);
	let done = 0;
	for (const { name, bytes, sha256 } of filesOf(manifest)) {
		const path = join(backupDir, name);
		await (await opened(path)).close();
		const found = await contentOf(path, (piece) => {
			done += piece;
			step(options, { bytes: done, totalBytes: report.bytes });
		});
		if (found.bytes !== bytes || found.sha256 !== sha256) throw new Error(`${path} is not what was backed up: its digest differs`);
	}
	return report;
}

async function opened(path: string): Promise<FileHandle> {
	try {
		return await open(path);
	} catch (cause) {
		throw new Error(`${path} is not what was backed up: it cannot be opened`, { cause });
	}
}

/** Members of the manifest. */
async function copyBeside(dir: string, companion: Companion): Promise<Pick<Manifest, "format" | "beside" | "missing">> {
	const { names, missing } = await companion.copyInto(dir);
	const beside: NonNullable<Manifest["beside"]> = [];
	for (const name of names) beside.push({ name, ...(await contentOf(join(dir, name), () => {})) });
	return { format: 2, beside, ...(missing === undefined ? {} : { missing }) };
}

function besideBytes({ beside = [] }: Pick<Manifest, "beside">): number {
	return beside.reduce((sum, { bytes }) => sum + bytes, 0);
}

function filesOf({ files, beside = [] }: Manifest): readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[] {
	return [...files, ...beside];
}

function reportOf(manifest: Manifest): BackupReport {
	const { firstSequence, lastSequence, format } = manifest;
	const missing = manifest.missing ?? (format === 1 ? LOG_ALONE : undefined);
	const bytes = filesOf(manifest).reduce((sum, file) => sum + file.bytes, 0);
	return { firstSequence, lastSequence, bytes, ...(missing === undefined ? {} : { missing }) };
}

async function contentOf(path: string, onPiece: (bytes: number) => void): Promise<{ readonly bytes: number; readonly sha256: string }> {
	const digest = createHash("sha256");
	let bytes = 0;
	for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES }) as AsyncIterable<Buffer>) {
		digest.update(piece);
		bytes += piece.length;
		onPiece(piece.length);
	}
	return { bytes, sha256: digest.digest("hex") };
}

/** Runs `make` on a directory beside `dir`, which takes its name when all is durable, or goes. */
async function inPlaceOf<T>(dir: string, make: (partial: string) => Promise<T>): Promise<T> {
	const partial = `${resolve(dir)}${PARTIAL}`;
	rmSync(partial, { recursive: true, force: true });
	makeDirectory(partial);
	try {
		const made = await make(partial);
		syncDirectory(partial);
		// An empty directory of that name gives way.
		renameSync(partial, resolve(dir));
		syncDirectory(dirname(resolve(dir)));
		return made;
	} catch (thrown) {
		rmSync(partial, { recursive: true, force: true });
		throw thrown;
	}
}

/** The SHA-256 of what was copied and is durable. */
async function copyPieces(
	path: string,
	end: number,
	readAt: (offset: number, length: number) => Promise<Buffer | undefined>,
	onPiece: (bytes: number) => void,
): Promise<string> {
	const digest = createHash("sha256");
	const fd = openSync(path, "wx", 0o600);
	try {
		for (let offset = 0; offset < end; offset += PIECE_BYTES) {
			const length = Math.min(PIECE_BYTES, end - offset);
			const bytes = await readAt(offset, length);
			if (bytes === undefined) throw new Error(`a file that is copied to ${path} is shorter than it was`);
			digest.update(bytes);
			for (let written = 0; written < length; ) written += writeSync(fd, bytes, written, length - written);
			onPiece(length);
		}
		fsyncSync(fd);
	} finally {
		closeSync(fd);
	}
	return digest.digest("hex");
}

function step({ onProgress, signal }: BackupOptions, progress: CopyProgress): void {
	signal?.throwIfAborted();
	onProgress?.(progress);
}

function refuseExisting(dir: string): void {
	if (existsSync(dir) && readdirSync(dir).length > 0) throw new Error(`${dir} is not empty; nothing is written over`);
}
