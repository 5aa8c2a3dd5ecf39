/** Identity from PEM files that somebody else writes and renews (cert-manager, a SPIRE helper, an agent of Vault): read, watched, paired. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { type FileWatch, watchFile } from "../../core/watch-file.ts";
import { type KeyedChain, readKeyedChain } from "../../identity/keyed-chain.ts";
import { readTrustBundle } from "../../identity/trust-bundle.ts";
import type { IdentityEvents, IdentityFault, IdentitySource } from "./identity-source.ts";

/** As for PEM text at large: a hundred authorities are 150 KB. */
const FILE_BYTES_MAX = 1024 * 1024;
/** Tools write certificate and key one after the other. What does not fit after this long is told; it is looked at again all the same. */
const SETTLE_MS = 1_000;

export interface FileSourceOptions {
	/** Absolute paths. */
	readonly files: { readonly cert: string; readonly key: string; readonly ca: string };
	readonly trustDomain: string;
	readonly clock: Clock;
}

type Text = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly fault: IdentityFault };

export class FileSource implements IdentitySource {
	readonly name: string;
	readonly #options: FileSourceOptions;
	#events: IdentityEvents | undefined;
	#watches: readonly FileWatch[] = [];
	/** One look at a time; a change during one asks for another. */
	#looking: Promise<void> | undefined;
	#lookAgain = false;
	#settling: Timer | undefined;
	/** What the present look finds wrong has had its time to settle. */
	#settled = false;
	#told = "";
	/** What was handed on last, by its content. */
	#pairGiven = "";
	#rootsGiven = "";
	#bundleVersion = 0;

	constructor(options: FileSourceOptions) {
		this.#options = options;
		this.name = `files, ${options.files.cert}`;
	}

	start(events: IdentityEvents): void {
		this.#events = events;
		const { files, clock } = this.#options;
		// Before they are read, so that no change is missed.
		const onChange = (): void => void this.#look();
		this.#watches = [files.cert, files.key, files.ca].map((path) => watchFile(path, { clock, onChange }));
		void this.#look();
	}

	/** Files are renewed by others: all that can be done is to look. */
	async renew(): Promise<IdentityFault | undefined> {
		const before = this.#pairGiven;
		await this.#look();
		if (this.#pairGiven !== before) return undefined;
		return { reason: "not_renewed", words: `whoever renews ${this.#options.files.cert} has not done so yet` };
	}

	stop(): void {
		this.#events = undefined;
		this.#settling?.cancel();
		for (const watch of this.#watches) watch.stop();
	}

	async #look(): Promise<void> {
		this.#lookAgain = true;
		this.#looking ??= this.#lookUntilQuiet();
		await this.#looking;
	}

	async #lookUntilQuiet(): Promise<void> {
		const { files } = this.#options;
		while (this.#lookAgain && this.#events !== undefined) {
			this.#lookAgain = false;
			const [cert, key, ca] = await Promise.all([readText(files.cert), readText(files.key), readText(files.ca)]);
			// Roots first: they are what the certificate is judged by.
			this.#judge([...this.#takeRoots(ca), ...this.#takePair(cert, key)]);
		}
		this.#looking = undefined;
	}

	/** Each state of things is told once, and only when it has lasted. */
	#judge(faults: readonly IdentityFault[]): void {
		const words = faults.map((fault) => fault.words).join("\n");
		const settled = this.#settled;
		this.#settled = false;
		if (words === "" || settled) this.#settling?.cancel();
		if (words === "") {
			this.#settling = undefined;
			if (this.#told !== "") this.#events?.onRecovered();
			this.#told = "";
		} else if (settled) {
			if (words !== this.#told) for (const fault of faults) this.#events?.onFault(fault);
			this.#told = words;
		} else if (words !== this.#told) {
			this.#settling ??= this.#options.clock.setTimer(SETTLE_MS, () => {
				this.#settling = undefined;
				this.#settled = true;
				void this.#look();
			});
		}
	}

	#takeRoots(ca: Text): readonly IdentityFault[] {
		if (!ca.ok) return [ca.fault];
		if (ca.text === this.#rootsGiven) return [];
		const { files, trustDomain } = this.#options;
		const version = this.#bundleVersion + 1;
		const reading = readTrustBundle({ version, trustDomains: { [trustDomain]: ca.text } });
		if (!reading.ok) return [{ reason: "material_refused", words: `${files.ca}: ${reading.faults.join("; ")}` }];
		this.#rootsGiven = ca.text;
		this.#bundleVersion = version;
		this.#events?.onBundle(reading.bundle);
		return [];
	}

	#takePair(cert: Text, key: Text): readonly IdentityFault[] {
		if (!cert.ok || !key.ok) return [cert, key].flatMap((text) => (text.ok ? [] : [text.fault]));
		const reading = readKeyedChain(cert.text, key.text);
		if (!reading.ok) return [{ reason: "material_refused", words: `${this.#options.files.cert}: ${reading.fault}` }];
		const given = fingerprintOf(reading.keyed);
		if (given === this.#pairGiven) return [];
		this.#pairGiven = given;
		this.#events?.onCertificate(reading.keyed);
		return [];
	}
}

/** The leaf stands for its key, too. */
function fingerprintOf({ chain }: KeyedChain): string {
	return chain.map(({ fingerprint }) => fingerprint).join(" ");
}

async function readText(path: string): Promise<Text> {
	try {
		// A pipe would wait for its writer.
		const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
		try {
			const stats = await file.stat();
			if (!stats.isFile()) return refuse("material_refused", `${path} is no file`);
			if (stats.size > FILE_BYTES_MAX) return refuse("material_refused", `${path} has more than ${FILE_BYTES_MAX} bytes`);
			return { ok: true, text: await file.readFile("utf8") };
		} finally {
			await file.close();
		}
	} catch (thrown) {
		return refuse("file_missing", `${path} cannot be read: ${messageOf(thrown)}`);
	}
}

function refuse(reason: IdentityFault["reason"], words: string): Text {
	return { ok: false, fault: { reason, words } };
}
