/** Which events a log holds lately, by identity, for brokers that do not look themselves. */
import { hash } from "node:crypto";

// Two generations, as in dedupe-window.ts: at least `capacity` of the latest are known, at most twice as many. About 100 bytes each.
export const IDENTITY_WINDOW_EVENTS = 100_000;

/** 43 characters; the length keeps ("ab", "c") and ("a", "bc") apart. */
export function identityOf(source: string, id: string): string {
	return hash("sha256", `${source.length}:${source}${id}`, "base64url");
}

export class IdentityWindow {
	readonly #capacity: number;
	#present = new Map<string, number>();
	#old = new Map<string, number>();

	constructor(capacity: number = IDENTITY_WINDOW_EVENTS) {
		this.#capacity = capacity;
	}

	/** The sequence of the event; undefined where it is not known. */
	get(identity: string): number | undefined {
		return this.#present.get(identity) ?? this.#old.get(identity);
	}

	/** The first sequence of an identity stays. */
	add(identity: string, sequence: number): void {
		if (this.get(identity) !== undefined) return;
		if (this.#present.size >= this.#capacity) {
			this.#old = this.#present;
			this.#present = new Map();
		}
		this.#present.set(identity, sequence);
	}

	/** What a broker has lost comes again with another sequence. */
	forgetFrom(sequence: number): void {
		for (const identities of [this.#present, this.#old]) {
			for (const [identity, known] of identities) if (known >= sequence) identities.delete(identity);
		}
	}

	/** What a broker has lost may come again. */
	clear(): void {
		this.#present.clear();
		this.#old.clear();
	}
}
