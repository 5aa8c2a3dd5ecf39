/** When each secret was used last: known at once, written down soon for the first time, then once a minute and at the end, so that no request waits for a disk. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { StoredToken } from "../authority/identity-state.ts";

/** What a crash forgets at most. Nobody asks whether a token was used this minute; whether it was used this month decides if it may go. */
const WRITE_AFTER_MS = 60_000;
/** Whether it was ever used decides if the next rotation, at whatever node, may take it for lost. */
const FIRST_WRITE_AFTER_MS = 1_000;

export class TokenUses {
	readonly #clock: Clock;
	readonly #write: (uses: ReadonlyMap<string, number>) => Promise<boolean>;
	/** By hash; of tokens that hold, so no more than there are. */
	readonly #unwritten = new Map<string, number>();
	#timer: Timer | undefined;
	#dueMs = 0;
	#isClosed = false;

	/** `write`: true once they are on disk. */
	constructor(clock: Clock, write: (uses: ReadonlyMap<string, number>) => Promise<boolean>) {
		this.#clock = clock;
		this.#write = write;
	}

	/** For each request. `isFirst`: no use of it is written down yet. */
	note(hash: string, wallMs: number, isFirst: boolean): void {
		const isNew = isFirst && !this.#unwritten.has(hash);
		this.#unwritten.set(hash, wallMs);
		if (isNew) this.#wait(FIRST_WRITE_AFTER_MS);
		else if (this.#timer === undefined) this.#wait(WRITE_AFTER_MS);
	}

	lastMs(hash: string, storedMs: number | undefined): number | undefined {
		const ownMs = this.#unwritten.get(hash);
		// Another node may have seen it later.
		return ownMs === undefined || (storedMs !== undefined && storedMs > ownMs) ? storedMs : ownMs;
	}

	/** Writes what is known. Later uses are forgotten. */
	async close(): Promise<void> {
		this.#isClosed = true;
		this.#timer?.cancel();
		await this.#flush();
	}

	#wait(afterMs: number): void {
		const dueMs = this.#clock.monotonicMs() + afterMs;
		if (this.#isClosed || (this.#timer !== undefined && this.#dueMs <= dueMs)) return;
		this.#timer?.cancel();
		this.#dueMs = dueMs;
		this.#timer = this.#clock.setTimer(afterMs, () => {
			this.#timer = undefined;
			void this.#flush();
		});
	}

	async #flush(): Promise<void> {
		if (this.#unwritten.size === 0) return;
		const uses = new Map(this.#unwritten);
		if (await this.#write(uses)) {
			for (const [hash, atMs] of uses) if (this.#unwritten.get(hash) === atMs) this.#unwritten.delete(hash);
		}
		if (this.#unwritten.size > 0) this.#wait(WRITE_AFTER_MS);
	}
}

/** The same token where nothing in it is later by `stepMs`. */
export function usedToken(token: StoredToken, uses: ReadonlyMap<string, number>, stepMs = 0): StoredToken {
	if (token.kind !== "api") return token;
	const { previous } = token;
	const isLater = (usedMs: number | undefined, storedMs = Number.NEGATIVE_INFINITY): usedMs is number =>
		usedMs !== undefined && usedMs > storedMs + stepMs;
	const usedMs = uses.get(token.hash);
	const previousUsedMs = previous === undefined ? undefined : uses.get(previous.hash);
	const used = isLater(usedMs, token.lastUsedMs) ? { ...token, lastUsedMs: usedMs } : token;
	return previous !== undefined && isLater(previousUsedMs, previous.lastUsedMs)
		? { ...used, previous: { ...previous, lastUsedMs: previousUsedMs } }
		: used;
}
