/** A disk that can be filled: a file system of its own, in memory and of a fixed size, where this process may mount one. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

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
