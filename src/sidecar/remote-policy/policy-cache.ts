/** The last good policy of Nexus from one start to the next: one file that nobody else can write, replaced whole, believed only as it was written. */
import { constants } from "node:fs";
import { mkdir, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, messageOf } from "../../core/errors.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import { KEPT_FILE, keptJson, type RemotePolicy, readKept } from "../../policy/kept-copy.ts";

/** The largest policy, as JSON, and what stands beside it. */
const FILE_BYTES_MAX = 1024 * 1024;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

export type CacheReading =
	| { readonly kind: "policy"; readonly policy: RemotePolicy }
	| { readonly kind: "none" }
	/** Why what is there is not used. */
	| { readonly kind: "refused"; readonly words: string };

export class PolicyCache {
	readonly #directory: string;
	readonly #service: string;

	constructor(directory: string, service: string) {
		this.#directory = directory;
		this.#service = service;
	}

	/** Makes the directory where it is missing. Never rejects. */
	async load(): Promise<CacheReading> {
		const path = join(this.#directory, KEPT_FILE);
		try {
			await mkdir(this.#directory, { recursive: true, mode: 0o700 });
			const directory = await stat(this.#directory);
			if ((directory.mode & OTHERS_WRITE) !== 0) return refused(`${this.#directory} may be written to by others: make it mode 700`);
			await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
			const stats = await file.stat();
			if (!stats.isFile() || stats.size > FILE_BYTES_MAX) return refused(`${path} is no file of ours`);
			const us = process.getuid?.();
			if (us !== undefined && stats.uid !== us) return refused(`${path} belongs to user ${stats.uid}, and this process is user ${us}`);
			if ((stats.mode & OTHERS) !== 0) return refused(`${path} may be used by others: make it mode 600`);
			return this.#read(await file.readFile("utf8"), path);
		} catch (thrown) {
			if (codeOf(thrown) === "ENOENT") return { kind: "none" };
			if (codeOf(thrown) === undefined) throw thrown;
			return refused(`${path} cannot be read: ${messageOf(thrown)}`);
		}
	}

	/** Resolves once it is durable, with words where it is not; what was kept before is then still there. */
	async save(policy: RemotePolicy): Promise<string | undefined> {
		const path = join(this.#directory, KEPT_FILE);
		try {
			await writeSecretFile(path, `${keptJson(this.#service, policy)}\n`);
			return undefined;
		} catch (thrown) {
			return `the policy of Nexus cannot be kept in ${path}: ${messageOf(thrown)}`;
		}
	}

	#read(text: string, path: string): CacheReading {
		const policy = readKept(text, this.#service);
		return typeof policy === "string" ? refused(`${path} ${policy}`) : { kind: "policy", policy };
	}
}

function refused(words: string): CacheReading {
	return { kind: "refused", words };
}
