/** Endpoints from a file that others write: a YAML or JSON list, read again whenever its content changes. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { type FileWatch, watchFile } from "../../core/watch-file.ts";
import type { Env } from "../../policy/env.ts";
import { loadEndpoints, type PolicyFault } from "../../policy/load.ts";
import { readTextFile } from "../../policy/load-file.ts";
import type { EndpointSource } from "../endpoint-source.ts";
import { Listing, type OnFault, type OnUpdate } from "./listing.ts";

// What is wrong with a file is told in one line of a log.
const FAULTS_TOLD_MAX = 3;

export interface FileSourceDeps {
	readonly clock: Clock;
	readonly log: Logger;
	/** For `${NAME}` in the file; the process's where absent. */
	readonly env?: Env;
}

export class FileSource implements EndpointSource {
	readonly #path: string;
	readonly #deps: FileSourceDeps;
	#watch: FileWatch | undefined;
	/** The reading that counts; an earlier one that ends later is ignored. */
	#reading = 0;

	constructor(path: string, deps: FileSourceDeps) {
		this.#path = path;
		this.#deps = deps;
	}

	start(onUpdate: OnUpdate, onFault: OnFault): void {
		const listing = new Listing(this.#path, this.#deps.log, onUpdate, onFault);
		// Watching comes first, so that no change falls between it and reading.
		this.#watch = watchFile(this.#path, { clock: this.#deps.clock, onChange: () => void this.#read(listing) });
		void this.#read(listing);
	}

	stop(): void {
		this.#reading++;
		this.#watch?.stop();
	}

	async #read(listing: Listing): Promise<void> {
		const reading = ++this.#reading;
		const read = await readTextFile(this.#path);
		if (reading !== this.#reading) return;
		if (!("text" in read)) {
			listing.bad(`${this.#path}: ${read.message}`);
			return;
		}
		const result = loadEndpoints(read.text, this.#path, this.#deps.env ?? process.env);
		if (result.ok) listing.good(result.endpoints);
		else listing.bad(wordsOf(result.faults));
	}
}

function wordsOf(faults: readonly PolicyFault[]): string {
	const told = faults.slice(0, FAULTS_TOLD_MAX).map(({ place, message, hint }) => {
		return `${place.file}:${place.line}:${place.column}: ${message}${hint === "" ? "" : ` (${hint})`}`;
	});
	if (faults.length > told.length) told.push(`and ${faults.length - told.length} more`);
	return told.join("; ");
}
