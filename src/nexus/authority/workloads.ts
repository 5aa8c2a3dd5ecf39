/**
 * Who holds a certificate of ours, as far as rotation must know: which one each instance shows, which bundle it has, when it was seen. Bounded;
 * no files, no clock of its own.
 */
import type { VerifiedPeer } from "../../identity/verify-chain.ts";

/** Twice the largest mesh that one Nexus is for; about 1 KB each. */
export const WORKLOADS_MAX = 20_000;

export interface Leaf {
	readonly serial: string;
	/** Fingerprint of the certificate that has issued it. */
	readonly issuer: string;
	/** Wall time. */
	readonly notAfterMs: number;
}

export interface Workload {
	/** SPIFFE ID. */
	readonly identity: string;
	/** Of its last request; "" before the first. */
	readonly address: string;
	/** What it has shown last, or was given at first. */
	readonly leaf: Leaf;
	/** Given to it since, and not shown yet: the answer may have been lost. */
	readonly given: Leaf | undefined;
	/** The bundle that it has said to have; 0 for none. */
	readonly bundleVersion: number;
	/** Wall time. */
	readonly lastSeenMs: number;
}

type Entry = { -readonly [K in keyof Workload]: Workload[K] } & {
	/** Its holder was told to come again with what it was given. */
	isCalled?: boolean;
};

export class Workloads {
	readonly #max: number;
	readonly #entries = new Set<Entry>();
	/** By the serial numbers of both its certificates. */
	readonly #bySerial = new Map<string, Entry>();
	/** Counts what would have to be kept on disk. */
	#changes = 0;

	constructor(max = WORKLOADS_MAX) {
		this.#max = max;
	}

	/** In order of their arrival. */
	get all(): Iterable<Workload> {
		return this.#entries;
	}

	get size(): number {
		return this.#entries.size;
	}

	get changes(): number {
		return this.#changes;
	}

	/** A certificate was issued; `renews` is what its holder has shown for it, undefined where it came with a token. */
	issued(identity: string, leaf: Leaf, renews: Leaf | undefined, address: string, nowMs: number): void {
		this.#changes++;
		const entry = renews === undefined ? undefined : this.#of(identity, renews, address, nowMs);
		if (entry === undefined) {
			this.#add({ identity, address, leaf, given: undefined, bundleVersion: 0, lastSeenMs: nowMs });
			return;
		}
		if (entry.given !== undefined) this.#bySerial.delete(entry.given.serial);
		entry.given = leaf;
		entry.isCalled = false;
		this.#bySerial.set(leaf.serial, entry);
	}

	/** A request came under this certificate. `bundleVersion`: what it says to have, undefined where it says nothing. */
	seen(identity: string, leaf: Leaf, address: string, nowMs: number, bundleVersion?: number): void {
		const entry = this.#of(identity, leaf, address, nowMs);
		entry.address = address;
		entry.lastSeenMs = nowMs;
		if (bundleVersion !== undefined) entry.bundleVersion = bundleVersion;
	}

	/**
	 * Whether its holder was given another certificate since, and should come again on a new connection to show it. True once: it may never
	 * have got that one.
	 */
	callAgain(serial: string): boolean {
		const entry = this.#bySerial.get(serial);
		if (entry?.given === undefined || entry.leaf.serial !== serial || entry.isCalled === true) return false;
		entry.isCalled = true;
		return true;
	}

	/** Forgets those whose certificates have all ended. */
	prune(nowMs: number): void {
		for (const entry of this.#entries) if (lastsUntilMs(entry) <= nowMs) this.#remove(entry);
	}

	/** From disk. Which bundle they have is asked for again. */
	restore(workloads: Iterable<Workload>): void {
		for (const workload of workloads) this.#add({ ...workload, bundleVersion: 0 });
	}

	#of(identity: string, leaf: Leaf, address: string, nowMs: number): Entry {
		const known = this.#bySerial.get(leaf.serial);
		if (known === undefined) {
			this.#changes++;
			return this.#add({ identity, address, leaf, given: undefined, bundleVersion: 0, lastSeenMs: nowMs });
		}
		if (known.given?.serial === leaf.serial) {
			this.#changes++;
			this.#bySerial.delete(known.leaf.serial);
			known.leaf = known.given;
			known.given = undefined;
		}
		return known;
	}

	#add(entry: Entry): Entry {
		if (this.#entries.size >= this.#max) this.#makeRoom();
		this.#entries.add(entry);
		this.#bySerial.set(entry.leaf.serial, entry);
		if (entry.given !== undefined) this.#bySerial.set(entry.given.serial, entry);
		return entry;
	}

	/** Whoever has not been seen for longest is most likely gone. */
	#makeRoom(): void {
		let oldest: Entry | undefined;
		for (const entry of this.#entries) if (oldest === undefined || entry.lastSeenMs < oldest.lastSeenMs) oldest = entry;
		if (oldest !== undefined) this.#remove(oldest);
	}

	#remove(entry: Entry): void {
		this.#changes++;
		this.#entries.delete(entry);
		this.#bySerial.delete(entry.leaf.serial);
		if (entry.given !== undefined) this.#bySerial.delete(entry.given.serial);
	}
}

/** When the last certificate that it may show has ended. */
export function lastsUntilMs({ leaf, given }: Workload): number {
	return Math.max(leaf.notAfterMs, given?.notAfterMs ?? 0);
}

export function leafOf({ path, leaf }: VerifiedPeer): Leaf {
	return { serial: leaf.serial, issuer: path[1]?.fingerprint ?? "", notAfterMs: leaf.notAfterMs };
}
