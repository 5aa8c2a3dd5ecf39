/**
 * Key, certificate and trust bundle from one start to the next, in files that nobody else can read or exchange. Key and certificate are one
 * file, so that no crash leaves the one without the other.
 */
import { constants, type Stats } from "node:fs";
import { lstat, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import { writeSecretFile } from "../../core/secret-file.ts";
import { privateKeyPem } from "../../identity/certificate-request.ts";
import { chainPem, type KeyedChain, readKeyedChain } from "../../identity/keyed-chain.ts";
import { readTrustBundle, type TrustBundle, trustBundleDocument } from "../../identity/trust-bundle.ts";
import type { IdentityFault } from "./identity-source.ts";

const IDENTITY_FILE = "identity.pem";
const BUNDLE_FILE = "bundle.json";
/** The longest deny lists, twice. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;
/** What a killed process has left half-written; a younger one may belong to a process that runs beside us while services are restarted. */
const LEFT_OVER_MS = 60_000;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

export interface Cached {
	readonly keyed: KeyedChain | undefined;
	readonly bundle: TrustBundle | undefined;
	/** Why something that is there is not used. */
	readonly faults: readonly IdentityFault[];
}

export class IdentityCache {
	readonly #directory: string;
	readonly #clock: Clock;
	/** Set while the directory is of no use; nothing is written to it then. */
	#refused = false;
	#last: Promise<unknown> = Promise.resolve();

	constructor(directory: string, clock: Clock) {
		this.#directory = directory;
		this.#clock = clock;
	}

	/** Makes the directory where it is missing. Never rejects. */
	async load(): Promise<Cached> {
		const faults: IdentityFault[] = [];
		const fault = await this.#check();
		if (fault !== undefined) {
			this.#refused = true;
			return { keyed: undefined, bundle: undefined, faults: [refusal(fault)] };
		}
		const identity = await this.#read(IDENTITY_FILE, faults);
		const bundleText = await this.#read(BUNDLE_FILE, faults);
		const keyed = identity === undefined ? undefined : readKeyedChain(identity, identity);
		if (keyed?.ok === false) faults.push(refusal(`${join(this.#directory, IDENTITY_FILE)} is damaged: ${keyed.fault}`));
		const bundle = bundleText === undefined ? undefined : readTrustBundle(jsonOf(bundleText));
		if (bundle?.ok === false) faults.push(refusal(`${join(this.#directory, BUNDLE_FILE)} is damaged: ${bundle.faults.join("; ")}`));
		return { keyed: keyed?.ok === true ? keyed.keyed : undefined, bundle: bundle?.ok === true ? bundle.bundle : undefined, faults };
	}

	/** Resolves once it is durable, with a fault where it is not; what was kept before is then still there. */
	saveIdentity({ chain, key }: KeyedChain): Promise<IdentityFault | undefined> {
		return this.#write(IDENTITY_FILE, () => `${privateKeyPem(key)}${chainPem(chain)}`);
	}

	saveBundle(bundle: TrustBundle): Promise<IdentityFault | undefined> {
		return this.#write(BUNDLE_FILE, () => `${JSON.stringify(trustBundleDocument(bundle))}\n`);
	}

	#write(name: string, text: () => string): Promise<IdentityFault | undefined> {
		const path = join(this.#directory, name);
		const done = this.#last.then(async () => {
			if (this.#refused) return undefined;
			try {
				await writeSecretFile(path, text());
				return undefined;
			} catch (thrown) {
				return refusal(`${path} cannot be written: ${messageOf(thrown)}`);
			}
		});
		this.#last = done;
		return done;
	}

	/** A sentence where somebody else could read or exchange what is in it. */
	async #check(): Promise<string | undefined> {
		const directory = this.#directory;
		try {
			await mkdir(directory, { recursive: true, mode: 0o700 });
			const stats = await stat(directory);
			const us = process.getuid?.();
			if (us !== undefined && stats.uid !== us && stats.uid !== 0)
				return `${directory} belongs to user ${stats.uid}, and this process is user ${us}: others could exchange what is kept there`;
			if ((stats.mode & OTHERS_WRITE) !== 0) return `${directory} may be written to by others (mode ${modeText(stats.mode)}): make it 700`;
			await this.#tidy();
			return undefined;
		} catch (thrown) {
			if (codeOf(thrown) === undefined) throw thrown;
			return `${directory} cannot be used: ${messageOf(thrown)}`;
		}
	}

	async #tidy(): Promise<void> {
		for (const name of await readdir(this.#directory)) {
			if (!/^(?:identity\.pem|bundle\.json)\.[0-9a-f]{12}$/.test(name)) continue;
			const path = join(this.#directory, name);
			const { mtimeMs } = await lstat(path);
			if (this.#clock.wallMs() - mtimeMs > LEFT_OVER_MS) await rm(path, { force: true });
		}
	}

	async #read(name: string, faults: IdentityFault[]): Promise<string | undefined> {
		const path = join(this.#directory, name);
		try {
			const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
			try {
				const stats = await file.stat();
				const fault = fileFault(stats);
				if (fault === undefined) return await file.readFile("utf8");
				faults.push(refusal(`${path} ${fault}`));
				return undefined;
			} finally {
				await file.close();
			}
		} catch (thrown) {
			if (codeOf(thrown) === undefined) throw thrown;
			if (codeOf(thrown) !== "ENOENT") faults.push(refusal(`${path} cannot be read: ${messageOf(thrown)}`));
			return undefined;
		}
	}
}

function fileFault(stats: Stats): string | undefined {
	if (!stats.isFile()) return "is no file";
	const us = process.getuid?.();
	if (us !== undefined && stats.uid !== us) return `belongs to user ${stats.uid}, and this process is user ${us}`;
	if ((stats.mode & OTHERS) !== 0) return `may be used by others (mode ${modeText(stats.mode)}), and must be 600: whoever has read it has its key`;
	return stats.size > FILE_BYTES_MAX ? `has more than ${FILE_BYTES_MAX} bytes` : undefined;
}

function refusal(words: string): IdentityFault {
	return { reason: "cache_refused", words };
}

function modeText(mode: number): string {
	return (mode & 0o7777).toString(8).padStart(3, "0");
}

function jsonOf(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (thrown) {
		if (thrown instanceof SyntaxError) return undefined;
		throw thrown;
	}
}
