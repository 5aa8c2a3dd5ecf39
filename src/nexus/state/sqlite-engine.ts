/** State in a SQLite file, from the loop's side: hands calls to the thread that waits for the disk. */
import { once } from "node:events";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { messageOf } from "../../core/errors.ts";
import type { Outcome, StateEngine } from "./engine.ts";
import { GROUP_MAX, STATE_BYTES_MAX } from "./limits.ts";
import type { OpenFailure } from "./sqlite-database.ts";
import type { SqliteCall, SqliteWorkerData } from "./sqlite-worker.ts";
import type { StateFailed } from "./state-store.ts";

export interface SqliteOptions {
	readonly file: string;
	/** Default: 1 GiB. At the bound, writes are `full`. */
	readonly bytesMax?: number;
}

/** One process at a time has the file; a second one is told so. The file is of mode 0600. */
export async function openSqliteEngine({
	file,
	bytesMax = STATE_BYTES_MAX,
}: SqliteOptions): Promise<{ readonly ok: true; readonly engine: StateEngine } | OpenFailure> {
	const data: SqliteWorkerData = { file, bytesMax };
	const worker = new Worker(new URL("./sqlite-worker.ts", import.meta.url), { workerData: data, name: "nexus-state", ...withCompileCache() });
	const thread = new WorkerThread(worker);
	const opened = await thread.opened;
	if (!opened.ok) {
		await thread.ended;
		return opened;
	}
	return {
		ok: true,
		engine: {
			name: "sqlite",
			isShared: false,
			durability: "disk",
			groupMax: GROUP_MAX,
			write: (group) => thread.call({ call: "write", group }),
			get: (table, key) => thread.call({ call: "get", table, key }),
			list: (table, span) => thread.call({ call: "list", table, span }),
			changes: (table, after, bytes) => thread.call({ call: "changes", table, after, bytes }),
			cursors: (span) => thread.call({ call: "cursors", span }),
			// The file is ours alone.
			onChange() {},
			backup: (file) => thread.backup(file),
			async close() {
				thread.close();
				await thread.ended;
			},
		},
	};
}

/** The cache of compiled sources is the main thread's alone; a thread that is told nothing strips and compiles its own at each start, for 50 ms. */
function withCompileCache(): { readonly env?: NodeJS.ProcessEnv } {
	const dir = getCompileCacheDir();
	// What is told is the folder of one version of Node in the folder that was asked for.
	return dir === undefined ? {} : { env: { ...process.env, NODE_COMPILE_CACHE: dirname(dir) } };
}

/** Answers come in the order of the calls. When the thread dies, every call is told: its writes may be on the disk. */
class WorkerThread {
	readonly opened: Promise<{ readonly ok: true } | OpenFailure>;
	/** With what is told to whom still waits. */
	readonly ended: Promise<StateFailed>;
	readonly #worker: Worker;
	readonly #waiting: ((answer: unknown) => void)[] = [];
	#died: StateFailed | undefined;

	constructor(worker: Worker) {
		this.#worker = worker;
		const opened = Promise.withResolvers<{ readonly ok: true } | OpenFailure>();
		this.opened = opened.promise;
		this.#waiting.push((answer) => opened.resolve(answer as { readonly ok: true } | OpenFailure));
		worker.on("message", (answer) => this.#waiting.shift()?.(answer));
		worker.on("error", (thrown) => this.#die(messageOf(thrown)));
		this.ended = new Promise((resolve) => {
			worker.once("exit", () => {
				const { detail } = this.#die("it has ended");
				opened.resolve({ ok: false, reason: "io", detail });
				resolve({ ok: false, failure: "io", detail });
			});
		});
	}

	call<T>(call: SqliteCall): Promise<Outcome<T>> {
		if (this.#died !== undefined) return Promise.resolve({ ...this.#died, failure: "io" });
		const { promise, resolve } = Promise.withResolvers<Outcome<T>>();
		this.#waiting.push((answer) => resolve(answer as Outcome<T>));
		this.#worker.postMessage(call);
		return promise;
	}

	/** Not in the order of the other calls, which go on. */
	async backup(file: string): Promise<Outcome<undefined>> {
		if (this.#died !== undefined) return { ...this.#died, failure: "io" };
		const { port1, port2 } = new MessageChannel();
		const answered = once(port1, "message").then(([answer]) => answer as Outcome<undefined>);
		this.#worker.postMessage({ call: "backup", file, port: port2 } satisfies SqliteCall, [port2]);
		const answer = await Promise.race([answered, this.ended]);
		port1.close();
		return answer;
	}

	close(): void {
		if (this.#died !== undefined) return;
		this.#waiting.push(() => {});
		this.#worker.postMessage({ call: "close" } satisfies SqliteCall);
	}

	#die(why: string): StateFailed {
		const died: StateFailed = this.#died ?? { ok: false, failure: "unknown", detail: `the thread of the state is gone: ${why}` };
		this.#died = died;
		for (const answer of this.#waiting.splice(0)) answer(died);
		return died;
	}
}
