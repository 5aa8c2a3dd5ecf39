/** One process at a time in a directory. The kernel holds the lock, so that it ends with the process, however that ends. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export interface DirectoryLock {
	release(): void;
}

// SQLite is the one portable way in Node to an advisory lock of the kernel (fcntl); nothing is ever written into the database.
const LOCK_FILE = "lock.db";
const OWNER_FILE = "lock.pid";

/** Throws in words when another process, or another part of this one, holds the directory, and what the system says where it cannot be had. */
export function lockDirectory(dir: string): DirectoryLock {
	const database = new DatabaseSync(join(dir, LOCK_FILE), { timeout: 0 });
	try {
		database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
	} catch (cause) {
		database.close();
		throw new Error(`it is in use${ownerOf(dir)}`, { cause });
	}
	tellOwner(dir);
	return { release: () => database.close() };
}

function tellOwner(dir: string): void {
	try {
		writeFileSync(join(dir, OWNER_FILE), `${process.pid}\n`);
	} catch {
		// A full disk: the lock alone decides, the file only names its holder.
	}
}

function ownerOf(dir: string): string {
	try {
		const owner = readFileSync(join(dir, OWNER_FILE), "utf8").trim();
		return owner === "" ? "" : ` by process ${owner}`;
	} catch {
		return ""; // not written yet
	}
}
