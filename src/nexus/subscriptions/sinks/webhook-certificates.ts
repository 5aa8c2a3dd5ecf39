/** Certificates and roots for webhooks under the names that the configuration gives them: watched, and the last good ones kept. */
import type { Clock, Timer } from "../../../core/clock.ts";
import type { Logger } from "../../../core/log.ts";
import { type FileWatch, watchFile } from "../../../core/watch-file.ts";
import { PemMaterial, type PemPaths } from "../../engines/pem-files.ts";

/** Tools write certificate and key one after the other. What does not fit after this long is told; the next change is looked at all the same. */
const SETTLE_MS = 1_000;

export interface WebhookCertificatesOptions {
	readonly clock: Clock;
	readonly logger: Logger;
}

export class WebhookCertificates {
	readonly #named: ReadonlyMap<string, NamedCertificate>;

	private constructor(named: ReadonlyMap<string, NamedCertificate>) {
		this.#named = named;
	}

	/** Throws a readable error where files cannot be used now. */
	static open(paths: Readonly<Record<string, PemPaths>>, options: WebhookCertificatesOptions): WebhookCertificates {
		const named = new Map<string, NamedCertificate>();
		try {
			for (const [name, files] of Object.entries(paths)) named.set(name, new NamedCertificate(name, files, options));
		} catch (thrown) {
			for (const each of named.values()) each.close();
			throw thrown;
		}
		return new WebhookCertificates(named);
	}

	get names(): readonly string[] {
		return [...this.#named.keys()];
	}

	get(name: string): NamedCertificate | undefined {
		return this.#named.get(name);
	}

	close(): void {
		for (const each of this.#named.values()) each.close();
	}
}

export class NamedCertificate {
	readonly name: string;
	readonly #paths: PemPaths;
	readonly #options: WebhookCertificatesOptions;
	readonly #watches: readonly FileWatch[];
	#material: PemMaterial;
	#generation = 0;
	#settling: Timer | undefined;

	constructor(name: string, paths: PemPaths, options: WebhookCertificatesOptions) {
		this.name = name;
		this.#paths = paths;
		this.#options = options;
		const reading = PemMaterial.read(paths);
		if (!reading.ok) throw new Error(`webhooks.certificates.${name}: ${reading.fault}`);
		this.#material = reading.material;
		const files = new Set([paths.cert, paths.key, paths.ca].filter((path) => path !== undefined));
		this.#watches = [...files].map((path) => watchFile(path, { clock: options.clock, onChange: () => this.#look(false) }));
		// What changed between the reading and the watching.
		this.#look(false);
	}

	get material(): PemMaterial {
		return this.#material;
	}

	/** Counts the changes. */
	get generation(): number {
		return this.#generation;
	}

	/** Whether there is a certificate to show. */
	get isShowable(): boolean {
		return this.#material.certificate !== "";
	}

	close(): void {
		this.#settling?.cancel();
		for (const watch of this.#watches) watch.stop();
	}

	#look(isSettled: boolean): void {
		const { clock, logger } = this.#options;
		this.#settling?.cancel();
		this.#settling = undefined;
		const reading = PemMaterial.read(this.#paths);
		if (reading.ok) {
			if (reading.material.equals(this.#material)) return;
			this.#material = reading.material;
			this.#generation++;
			logger.info("a certificate for webhooks was renewed", { certificate: this.name });
		} else if (isSettled) {
			logger.warn("a certificate for webhooks cannot be renewed; the one before stays in use", { certificate: this.name, fault: reading.fault });
		} else {
			this.#settling = clock.setTimer(SETTLE_MS, () => this.#look(true));
		}
	}
}
