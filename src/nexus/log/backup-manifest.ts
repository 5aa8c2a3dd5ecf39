/** What a backup says of itself: its files with their digests. Written last, so that a directory without it is no backup. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { isSegmentName } from "./segment.ts";

/** The files beside the log that a backup may hold, by their names in the data directory. */
export const BESIDE_LOG = ["state.db", "identity.json", "workloads.json"] as const;
export type BesideLog = (typeof BESIDE_LOG)[number];

const MANIFEST_FILE = "backup.json";
// A segment takes a line; a log of a terabyte has four thousand.
const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

const content = { bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) };

const schema = z.strictObject({
	/** 1: of the log alone. */
	format: z.literal([1, 2]),
	firstSequence: z.int().nonnegative(),
	lastSequence: z.int().nonnegative(),
	files: z.array(z.strictObject({ name: z.string().refine(isSegmentName), ...content })),
	/** Since format 2. No newer than the log. */
	beside: z.array(z.strictObject({ name: z.enum(BESIDE_LOG), ...content })).optional(),
	/** What is not in it, and why: a sentence for people. */
	missing: z.string().optional(),
});
export type Manifest = z.infer<typeof schema>;

/** Whether a directory holds a backup, and not a log. */
export function isBackup(dir: string): boolean {
	return existsSync(join(dir, MANIFEST_FILE));
}

export function writeManifest(dir: string, manifest: Manifest): void {
	const fd = openSync(join(dir, MANIFEST_FILE), "wx", 0o600);
	try {
		writeFileSync(fd, `${JSON.stringify(manifest, undefined, "\t")}\n`);
		fsyncSync(fd);
	} finally {
		closeSync(fd);
	}
}

export function readManifest(dir: string): Manifest {
	const path = join(dir, MANIFEST_FILE);
	if (!existsSync(path)) throw new Error(`${dir} is no backup of a log: it has no ${MANIFEST_FILE}`);
	const bytes = readFileSync(path);
	if (bytes.length > MANIFEST_BYTES_MAX) throw new Error(`${path} is larger than any backup makes it`);
	try {
		return schema.parse(JSON.parse(bytes.toString()));
	} catch (cause) {
		throw new Error(`${path} is damaged`, { cause });
	}
}
