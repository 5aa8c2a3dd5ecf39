/** Copies of an embedded log: taken while it runs, with a digest of every file; restored only where every digest is right. */
import { createHash } from "node:crypto";
import {
	closeSync,
	createReadStream,
	existsSync,
	fsyncSync,
	openSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { isSegmentName, makeDirectory, type Segment, syncDirectory } from "./segment.ts";

export interface CopyProgress {
	readonly bytes: number;
	readonly totalBytes: number;
}

export interface BackupOptions {
	/** Called after each piece. */
	readonly onProgress?: (progress: CopyProgress) => void;
	/** Ends the work; nothing of it is left behind. */
	readonly signal?: AbortSignal;
}

export interface BackupReport {
	/** What the copy holds; `lastSequence` is 0 where the log was empty. */
	readonly firstSequence: number;
	readonly lastSequence: number;
	readonly bytes: number;
}

const MANIFEST_FILE = "backup.json";
const PIECE_BYTES = 1024 * 1024;
// A segment takes a line; a log of a terabyte has four thousand.
const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

const manifestSchema = z.strictObject({
	format: z.literal(1),
	firstSequence: z.int().nonnegative(),
	lastSequence: z.int().nonnegative(),
	files: z.array(
		z.strictObject({ name: z.string().refine(isSegmentName), bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
	),
});
type Manifest = z.infer<typeof manifestSchema>;

/**
 * Copies what is durable at this moment into `dir`, which must not exist yet; it appears when it is whole and on disk. Rejects with a readable
 * error otherwise. Retention and compaction go on meanwhile: the files are held.
 */
export async function backupSegments(segments: readonly Segment[], dir: string, options: BackupOptions = {}): Promise<BackupReport> {
	refuseExisting(dir);
	// The segment that is being written ends here for the copy.
	const parts = segments.map((segment) => ({ segment, end: segment.end }));
	const firstSequence = segments[0]?.header.firstSequence ?? 1;
	const lastSequence = segments.at(-1)?.lastSequence ?? 0;
	const totalBytes = parts.reduce((sum, { end }) => sum + end, 0);
	for (const { segment } of parts) segment.hold();
	try {
		return await inPlaceOf(dir, async (partial) => {
			const files: Manifest["files"] = [];
			let done = 0;
			for (const { segment, end } of parts) {
				const name = basename(segment.path);
				const sha256 = await copyPieces(
					join(partial, name),
					end,
					(offset, length) => segment.readAt(offset, length),
					(bytes) => {
						done += bytes;
						step(options, { bytes: done, totalBytes });
					},
				);
				files.push({ name, bytes: end, sha256 });
			}
			writeManifest(partial, { format: 1, firstSequence, lastSequence, files });
			return { firstSequence, lastSequence, bytes: totalBytes };
		});
	} finally {
		for (const { segment } of parts) segment.release();
	}
}

/**
 * Makes the data directory of a log from a backup; `dataDir` must not exist or be empty, and appears when every file is there with the right
 * digest. Rejects with a readable error otherwise.
 */
export async function restoreLog(backupDir: string, dataDir: string, options: BackupOptions = {}): Promise<BackupReport> {
	const manifest = readManifest(backupDir);
	refuseExisting(dataDir);
	const totalBytes = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
	return inPlaceOf(dataDir, async (partial) => {
		let done = 0;
		for (const { name, bytes, sha256 } of manifest.files) {
			const file = await open(join(backupDir, name));
			try {
				const readAt = async (offset: number, length: number): Promise<Buffer | undefined> => {
					const { buffer, bytesRead } = await file.read(Buffer.allocUnsafeSlow(length), 0, length, offset);
					return bytesRead === length ? buffer : undefined;
				};
				const actual = await copyPieces(join(partial, name), bytes, readAt, (copied) => {
					done += copied;
					step(options, { bytes: done, totalBytes });
				});
				if (actual !== sha256) throw new Error(`${join(backupDir, name)} is not what was backed up: its digest differs`);
			} finally {
				await file.close();
			}
		}
		return { firstSequence: manifest.firstSequence, lastSequence: manifest.lastSequence, bytes: totalBytes };
	});
}

/** Whether a directory holds a backup, and not a log. */
export function isBackup(dir: string): boolean {
	return existsSync(join(dir, MANIFEST_FILE));
}

/** Reads every file of a backup and compares it with its digest. Rejects with a readable error where one differs. */
export async function verifyBackup(backupDir: string, options: BackupOptions = {}): Promise<BackupReport> {
	const { files, firstSequence, lastSequence } = readManifest(backupDir);
	const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
	let done = 0;
	for (const { name, bytes, sha256 } of files) {
		const path = join(backupDir, name);
		const digest = createHash("sha256");
		let length = 0;
		for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES }) as AsyncIterable<Buffer>) {
			digest.update(piece);
			length += piece.length;
			done += piece.length;
			step(options, { bytes: done, totalBytes });
		}
		if (length !== bytes || digest.digest("hex") !== sha256) throw new Error(`${path} is not what was backed up: its digest differs`);
	}
	return { firstSequence, lastSequence, bytes: totalBytes };
}

/** Runs `make` on a directory beside `dir`, which takes its name when all is durable, or goes. */
async function inPlaceOf<T>(dir: string, make: (partial: string) => Promise<T>): Promise<T> {
	const partial = `${resolve(dir)}.partial`;
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

function writeManifest(dir: string, manifest: Manifest): void {
	const fd = openSync(join(dir, MANIFEST_FILE), "wx", 0o600);
	try {
		writeFileSync(fd, `${JSON.stringify(manifest, undefined, "\t")}\n`);
		fsyncSync(fd);
	} finally {
		closeSync(fd);
	}
}

function readManifest(dir: string): Manifest {
	const path = join(dir, MANIFEST_FILE);
	if (!existsSync(path)) throw new Error(`${dir} is no backup of a log: it has no ${MANIFEST_FILE}`);
	const bytes = readFileSync(path);
	if (bytes.length > MANIFEST_BYTES_MAX) throw new Error(`${path} is larger than any backup makes it`);
	try {
		return manifestSchema.parse(JSON.parse(bytes.toString()));
	} catch (cause) {
		throw new Error(`${path} is damaged`, { cause });
	}
}

function refuseExisting(dir: string): void {
	if (existsSync(dir) && readdirSync(dir).length > 0) throw new Error(`${dir} is not empty; nothing is written over`);
}
