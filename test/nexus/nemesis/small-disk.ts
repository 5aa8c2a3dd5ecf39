/** A disk that can be filled: a file system of its own, in memory and of a fixed size, where this process may mount one. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

export class SmallDisk {
	readonly dir: string;

	private constructor(dir: string) {
		this.dir = dir;
	}

	/** Undefined where it cannot be had: only root on Linux may. */
	static mount(dir: string, mebibytes: number): SmallDisk | undefined {
		if (process.getuid?.() !== 0) return undefined;
		const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", dir]);
		return status === 0 ? new SmallDisk(dir) : undefined;
	}

	/** In a folder of its own, until the test is over. */
	static temporary(t: TestContext, mebibytes: number): SmallDisk | undefined {
		const dir = mkdtempSync(join(tmpdir(), "nexus-small-disk-"));
		const disk = SmallDisk.mount(dir, mebibytes);
		t.after(() => {
			disk?.unmount();
			rmSync(dir, { recursive: true, force: true });
		});
		return disk;
	}

	/** To the last byte. */
	fill(): void {
		const file = openSync(this.#filler, "a");
		try {
			for (const bytes of [1024 * 1024, 4096, 1]) writeUntilFull(file, Buffer.alloc(bytes));
		} finally {
			closeSync(file);
		}
	}

	free(): void {
		rmSync(this.#filler, { force: true });
	}

	/** All temporary folders that are made meanwhile stand on it: a server of a test makes its own. Without a disk, where they always do. */
	static async holding<T>(disk: SmallDisk | undefined, make: () => Promise<T>): Promise<T> {
		const before = process.env.TMPDIR;
		if (disk !== undefined) process.env.TMPDIR = disk.dir;
		try {
			return await make();
		} finally {
			if (before === undefined) delete process.env.TMPDIR;
			else process.env.TMPDIR = before;
		}
	}

	/** Also while a file on it is open. */
	unmount(): void {
		spawnSync("umount", ["-l", this.dir]);
	}

	get #filler(): string {
		return join(this.dir, "filler");
	}
}

function writeUntilFull(file: number, bytes: Buffer): void {
	try {
		for (;;) writeSync(file, bytes);
	} catch (thrown) {
		if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOSPC")) throw thrown;
	}
}
