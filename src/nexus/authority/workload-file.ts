/**
 * Keeps the workloads on disk, so that a rotation after a restart waits for those that are away. Written behind, at most once a second: what
 * the last second has brought is made up for by the patience of a rotation after a start.
 */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Clock, Timer } from "../../core/clock.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import type { Workloads } from "./workloads.ts";

const WRITE_BEHIND_MS = 1_000;

const leaf = z.object({ serial: z.string(), issuer: z.string(), notAfterMs: z.number() });
const document = z.object({
	format: z.literal(1),
	workloads: z.array(z.object({ identity: z.string(), address: z.string(), leaf, given: leaf.optional(), lastSeenMs: z.number() })),
});

export class WorkloadFile {
	readonly #path: string;
	readonly #workloads: Workloads;
	readonly #clock: Clock;
	readonly #logger: Logger;
	#written = 0;
	#timer: Timer | undefined;
	#writing: Promise<void> | undefined;
	#isClosed = false;

	constructor(path: string, workloads: Workloads, clock: Clock, logger: Logger) {
		this.#path = path;
		this.#workloads = workloads;
		this.#clock = clock;
		this.#logger = logger;
	}

	/** Once, at the start. Throws for a file that cannot be read. One of another form is begun anew: all in it is found out again. */
	async load(): Promise<void> {
		let text = "";
		try {
			text = await readFile(this.#path, "utf8");
		} catch (thrown) {
			if (codeOf(thrown) !== "ENOENT") throw thrown;
			return;
		}
		const parsed = document.safeParse(jsonOf(text));
		if (!parsed.success) {
			this.#logger.warn("the list of workloads cannot be understood; it is begun anew", { file: this.#path });
			return;
		}
		const nowMs = this.#clock.wallMs();
		this.#workloads.restore(parsed.data.workloads.map((workload) => ({ ...workload, given: workload.given, bundleVersion: 0 })));
		this.#workloads.prune(nowMs);
		this.#written = this.#workloads.changes;
	}

	/** There may be something to write. */
	touch(): void {
		if (this.#isClosed || this.#timer !== undefined || this.#workloads.changes === this.#written) return;
		this.#timer = this.#clock.setTimer(WRITE_BEHIND_MS, () => {
			this.#timer = undefined;
			this.#writing = this.#write();
		});
	}

	/** What is not written yet, is. */
	async close(): Promise<void> {
		this.#isClosed = true;
		this.#timer?.cancel();
		await this.#writing;
		if (this.#workloads.changes !== this.#written) await this.#write();
	}

	async #write(): Promise<void> {
		this.#workloads.prune(this.#clock.wallMs());
		const { changes } = this.#workloads;
		const workloads = [...this.#workloads.all].map(({ identity, address, leaf, given, lastSeenMs }) => ({
			identity,
			address,
			leaf,
			given,
			lastSeenMs,
		}));
		try {
			await writeSecretFile(this.#path, `${JSON.stringify({ format: 1, workloads })}\n`);
			this.#written = changes;
		} catch (thrown) {
			this.#logger.warn("the list of workloads could not be written", { error: messageOf(thrown) });
		}
		this.touch();
	}
}

function jsonOf(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}
