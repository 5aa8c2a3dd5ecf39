/** Files that nobody but their owner may read: keys, tokens, and what rests on them. Whole or not at all, and never readable for a moment in between. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { secretBytes } from "./secret-bytes.ts";

const OWNER_ONLY = 0o600;

/**
 * Replaces what was there. Once it resolves, a crash of the machine leaves the new content; before that, the old content or the new. Throws
 * what the system says.
 */
export async function writeSecretFile(path: string, text: string): Promise<void> {
	await replaceFile(path, secretBytes(text), OWNER_ONLY);
}

/** As `writeSecretFile`, for what everybody may read. */
export async function writePublicFile(path: string, text: string): Promise<void> {
	await replaceFile(path, text, 0o644);
}

/** Makes what was created, renamed or removed in it last, as far as the system offers that. */
export async function syncDirectory(path: string): Promise<void> {
	const directory = await open(path, "r");
	try {
		await directory.sync();
	} finally {
		await directory.close();
	}
}

async function replaceFile(path: string, content: string | Buffer, mode: number): Promise<void> {
	const beside = `${path}.${randomBytes(6).toString("hex")}`;
	// "wx": a file or link that somebody else has put there is not written through.
	const file = await open(beside, "wx", mode);
	try {
		await file.writeFile(content);
		await file.sync();
		await file.close();
		await rename(beside, path);
	} catch (thrown) {
		await file.close();
		await rm(beside, { force: true });
		throw thrown;
	}
	await syncDirectory(dirname(path));
}
