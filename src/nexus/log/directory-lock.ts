/** One process at a time on a data directory. The kernel holds the lock, so that it ends with the process, however that ends. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export interface DirectoryLock {
	release(): void;
}

// SQLite is the one portable way in Node to an advisory lock of the kernel (fcntl); nothing is ever written into the database.
const LOCK_FILE = "lock.db";
const OWNER_FILE = "lock.pid";

/** Throws a readable error when another process, or another log of this one, holds the directory. */
export function lockDirectory(dir: string): DirectoryLock {
	const database = new DatabaseSync(join(dir, LOCK_FILE), { timeout: 0 });
	try {
		database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
	} catch (cause) {
		database.close();
		throw new Error(`the data directory ${dir} is in use by another Nexus${ownerOf(dir)}; stop it, or choose another directory`, { cause });
	}
	writeFileSync(join(dir, OWNER_FILE), `${process.pid}\n`);
	return { release: () => database.close() };
}

function ownerOf(dir: string): string {
	try {
		return ` (process ${readFileSync(join(dir, OWNER_FILE), "utf8").trim()})`;
	} catch {
		// Its owner has not written it yet; the lock alone decides.
		return "";
	}
}
