/** What the registry has listed, from one start to the next, so that a start needs no Nexus: one file of mode 0600, replaced whole. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import { isRefusal } from "../../policy/fault.ts";
import { parseTcpAddress } from "../../policy/values.ts";

const FILE = "registry.json";

export interface KeptEndpoint {
	readonly address: string;
	readonly zone: string | undefined;
}

export class KeptLists {
	readonly #directory: string;
	readonly #log: Logger;
	readonly #lists = new Map<string, readonly KeptEndpoint[]>();
	#writing: Promise<void> | undefined;
	#isChanged = false;

	constructor(directory: string, log: Logger) {
		this.#directory = directory;
		this.#log = log;
	}

	/** Never rejects: without a file that can be used there is nothing. */
	async load(): Promise<void> {
		try {
			await mkdir(this.#directory, { recursive: true, mode: 0o700 });
			const lists = JSON.parse(await readFile(join(this.#directory, FILE), "utf8")) as Record<string, unknown>;
			for (const [service, list] of Object.entries(lists)) if (Array.isArray(list)) this.#lists.set(service, list.flatMap(endpointOf));
		} catch (thrown) {
			if (codeOf(thrown) === "ENOENT") return;
			this.#log.warn("the lists of the registry that were kept cannot be read", { error: messageOf(thrown) });
		}
	}

	get(service: string): readonly KeptEndpoint[] | undefined {
		return this.#lists.get(service);
	}

	/** Written in its own time; an empty list is not worth keeping. */
	set(service: string, endpoints: readonly KeptEndpoint[]): void {
		if (endpoints.length === 0) return;
		this.#lists.set(service, endpoints);
		this.#isChanged = true;
		this.#writing ??= this.#write().finally(() => {
			this.#writing = undefined;
		});
	}

	async #write(): Promise<void> {
		while (this.#isChanged) {
			this.#isChanged = false;
			try {
				await writeSecretFile(join(this.#directory, FILE), `${JSON.stringify(Object.fromEntries(this.#lists))}\n`);
			} catch (thrown) {
				this.#log.warn("the lists of the registry cannot be kept", { error: messageOf(thrown) });
			}
		}
	}
}

function endpointOf(given: unknown): KeptEndpoint[] {
	const { address, zone } = (typeof given === "object" && given !== null ? given : {}) as Record<string, unknown>;
	if (typeof address !== "string" || isRefusal(parseTcpAddress(address, 1))) return [];
	return [{ address, zone: typeof zone === "string" ? zone : undefined }];
}
