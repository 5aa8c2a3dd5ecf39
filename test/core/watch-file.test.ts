import assert from "node:assert/strict";
import {
	chmodSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	renameSync,
	rmSync,
	statSync,
	symlinkSync,
	truncateSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { type FileWatch, watchFile } from "../../src/core/watch-file.ts";
import { FakeClock } from "../support/fake-clock.ts";

interface Observed {
	/** What a reader finds at the next call of `onChange`, or found at the oldest one not yet asked for. */
	next(): Promise<string>;
	/** Calls that nobody has asked for. */
	readonly told: string[];
	readonly watch: FileWatch;
}

/**
 * That nothing is told twice, or without a change, shows in the sequence: the next content that is told must be that of
 * the next change.
 */
function observe(t: TestContext, path: string, clock: Clock): Observed {
	const told: string[] = [];
	const waiting: ((content: string) => void)[] = [];
	const watch = watchFile(path, {
		clock,
		onChange: () => {
			const content = contentOf(path);
			const reader = waiting.shift();
			if (reader === undefined) told.push(content);
			else reader(content);
		},
	});
	t.after(() => watch.stop());
	const next = (): Promise<string> => {
		const content = told.shift();
		return content === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(content);
	};
	return { watch, next, told };
}

/** Polls never fall due: only the events of the system can tell. */
function observeByEvents(t: TestContext, path: string): Observed {
	return observe(t, path, {
		...systemClock,
		setTimer: (delayMs, callback) => (delayMs < 1_000 ? systemClock.setTimer(delayMs / 4, callback) : { cancel() {} }),
	});
}

/** Time goes by as `next` asks: polls fall due whether events came or not. */
function observeByPolling(t: TestContext, path: string): Observed & { readonly clock: FakeClock } {
	const clock = new FakeClock();
	const { watch, next, told } = observe(t, path, clock);
	const nextPolled = async (): Promise<string> => {
		const content = next();
		for (;;) {
			clock.advance(1_000);
			const first = await Promise.race([content, breath()]);
			if (first !== undefined) return first;
		}
	};
	return { watch, next: nextPolled, told, clock };
}

const OBSERVERS = [
	["by events", observeByEvents],
	["by polling", observeByPolling],
] as const;

const WAYS: readonly [string, (path: string, content: string) => void][] = [
	["written in place", (path, content) => writeFileSync(path, content)],
	[
		"renamed over",
		(path, content) => {
			writeFileSync(`${path}.tmp`, content);
			renameSync(`${path}.tmp`, path);
		},
	],
	[
		"truncated and written in pieces",
		(path, content) => {
			truncateSync(path, 0);
			for (const piece of content) writeFileSync(path, piece, { flag: "a" });
		},
	],
	[
		"deleted and made again",
		(path, content) => {
			rmSync(path);
			writeFileSync(path, content);
		},
	],
	[
		"written with the size and time that it had",
		(path, content) => {
			writeFileSync(path, content);
			utimesSync(path, 1_000_000_000, 1_000_000_000);
		},
	],
];

describe("watchFile", () => {
	for (const [how, observeThis] of OBSERVERS) {
		for (const [way, change] of WAYS) {
			it(`tells once ${how} that a file was ${way}`, async (t) => {
				const path = join(directory(t), "mesh.yaml");
				writeFileSync(path, "0000");
				const { next } = observeThis(t, path);
				for (const content of ["1111", "2222", "3333"]) {
					const before = changeTime(path);
					// The kernel's clock for files may tick as slowly as every 10 ms.
					do change(path, content);
					while (changeTime(path) === before);
					assert.equal(await next(), content);
				}
			});
		}

		it(`follows ${how} a symbolic link that is swapped as Kubernetes does, time and again`, async (t) => {
			const mount = directory(t);
			publish(mount, "v1", "one");
			symlinkSync(join("..data", "mesh.yaml"), join(mount, "mesh.yaml"));
			const { next } = observeThis(t, join(mount, "mesh.yaml"));
			for (const [version, content] of [
				["v2", "two"],
				["v3", "three"],
				["v4", "four"],
			] as const) {
				publish(mount, version, content);
				assert.equal(await next(), content);
			}
		});

		it(`tells ${how} that the file has gone, and that it is back`, async (t) => {
			const path = join(directory(t), "mesh.yaml");
			writeFileSync(path, "one");
			const { next } = observeThis(t, path);
			rmSync(path);
			assert.equal(await next(), "ENOENT");
			writeFileSync(path, "two");
			assert.equal(await next(), "two");
		});
	}

	it("sees a write to the file that a symbolic link in another directory leads to", async (t) => {
		const [here, there] = [directory(t), directory(t)];
		writeFileSync(join(there, "real.yaml"), "one");
		symlinkSync(join(there, "real.yaml"), join(here, "mesh.yaml"));
		const { next } = observeByEvents(t, join(here, "mesh.yaml"));
		writeFileSync(join(there, "real.yaml"), "two");
		assert.equal(await next(), "two");
	});

	it("waits for a file whose very directory is missing, and survives the directory being replaced", async (t) => {
		const parent = directory(t);
		const path = join(parent, "later", "mesh.yaml");
		const { next } = observeByPolling(t, path);
		mkdirSync(join(parent, "later"));
		writeFileSync(path, "one");
		assert.equal(await next(), "one");
		rmSync(join(parent, "later"), { recursive: true });
		assert.equal(await next(), "ENOENT");
		mkdirSync(join(parent, "later"));
		writeFileSync(path, "two");
		assert.equal(await next(), "two");
		writeFileSync(path, "three");
		assert.equal(await next(), "three");
	});

	it("is quiet about touch, chmod, rewriting the same, and what happens to neighbours", async (t) => {
		const path = join(directory(t), "mesh.yaml");
		writeFileSync(path, "one");
		const { next, clock, told } = observeByPolling(t, path);
		const quietly = async (change: () => void) => {
			change();
			for (let i = 0; i < 20; i++) {
				clock.advance(1_000);
				await breath();
			}
			assert.deepEqual(told, []);
		};
		await quietly(() => utimesSync(path, 1, 1));
		await quietly(() => chmodSync(path, 0o600));
		await quietly(() => writeFileSync(path, "one"));
		await quietly(() => writeFileSync(`${path}.bak`, "two"));
		writeFileSync(path, "two");
		assert.equal(await next(), "two");
	});

	it("misses nothing that changed between the call and the first look", async (t) => {
		const path = join(directory(t), "mesh.yaml");
		writeFileSync(path, "one");
		const { next } = observeByPolling(t, path);
		writeFileSync(path, "two");
		assert.equal(await next(), "two");
	});

	it("tells about a file that never comes to rest all the same", async (t) => {
		const path = join(directory(t), "mesh.yaml");
		writeFileSync(path, "");
		const { told, clock } = observeByPolling(t, path);
		for (let i = 0; told.length === 0; i++) {
			writeFileSync(path, "x".repeat(i % 100), { flag: "a" });
			clock.advance(100);
			await breath();
			assert.ok(i < 1_000);
		}
	});

	it("is silent after stop, which may be called twice", async (t) => {
		const path = join(directory(t), "mesh.yaml");
		writeFileSync(path, "one");
		const { watch, told, clock } = observeByPolling(t, path);
		writeFileSync(path, "two");
		clock.advance(1_000);
		watch.stop();
		watch.stop();
		for (let i = 0; i < 20; i++) {
			clock.advance(1_000);
			await breath();
		}
		assert.deepEqual(told, []);
		assert.equal(clock.pendingTimers, 0);
	});

	it("does not read a directory in the place of the file", async (t) => {
		const path = join(directory(t), "mesh.yaml");
		mkdirSync(path);
		const { next } = observeByPolling(t, path);
		rmSync(path, { recursive: true });
		writeFileSync(path, "one");
		assert.equal(await next(), "one");
	});
});

function directory(t: TestContext): string {
	const path = mkdtempSync(join(tmpdir(), "nexus-watch-"));
	t.after(() => rmSync(path, { recursive: true, force: true }));
	return path;
}

/** What kubelet's atomic writer does: a new directory, and a link that is renamed over the old one; then the old one goes. */
function publish(mount: string, version: string, content: string): void {
	mkdirSync(join(mount, `..${version}`));
	writeFileSync(join(mount, `..${version}`, "mesh.yaml"), content);
	symlinkSync(`..${version}`, join(mount, "..data_tmp"));
	renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
	rmSync(join(mount, `..v${Number(version.slice(1)) - 1}`), { recursive: true, force: true });
}

function changeTime(path: string): bigint {
	return statSync(path, { bigint: true }).ctimeNs;
}

function contentOf(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch (thrown) {
		return (thrown as NodeJS.ErrnoException).code ?? String(thrown);
	}
}

/** Lets outstanding file operations end: each takes a few turns of the loop, and callers go round until what they wait for is there. */
async function breath(): Promise<undefined> {
	for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
	return undefined;
}
