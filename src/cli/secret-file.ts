/** Files that nobody but their owner may read: keys and tokens. Whole or not at all, and never readable for a moment in between. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";

const OWNER_ONLY = 0o600;

/** Replaces what was there. Flushed before it is renamed into place, so that a crash leaves the old content or the new. Throws what the system says. */
export async function writeSecretFile(path: string, text: string): Promise<void> {
	const beside = `${path}.${randomBytes(6).toString("hex")}`;
	// "wx": a file or link that somebody else has put there is not written through.
	const file = await open(beside, "wx", OWNER_ONLY);
	try {
		await file.writeFile(text);
		await file.sync();
		await file.close();
		await rename(beside, path);
	} catch (thrown) {
		await file.close();
		await rm(beside, { force: true });
		throw thrown;
	}
}
