/** Where tokens are kept: known without asking, changed one by one, and in effect once that is durable. */
import type { StoredToken } from "../authority/identity-state.ts";
import type { NotKept } from "../authority/state-file.ts";

export interface TooManyTokens {
	readonly fault: "too_many";
	readonly words: string;
}

/** The shared state cannot be had, or did not say how it went: all may be as before. */
export interface StateAway {
	readonly fault: "unavailable";
	readonly words: string;
}

export type NotStored = NotKept | StateAway;

/** What becomes of a token, or why nothing does. The same token: nothing is to be written. */
export type TokenChange<F> = (token: StoredToken | undefined) => StoredToken | "gone" | F;

export interface TokenStore {
	/** As far as this node knows: of other nodes' changes it hears a moment later. */
	find(id: string): StoredToken | undefined;
	all(): Iterable<StoredToken>;
	/** Those that are over since `forgottenMs` make room. */
	add(token: StoredToken, forgottenMs: number): Promise<TooManyTokens | NotStored | undefined>;
	/** `change` sees the token as it is kept; it is asked again where another node was faster. */
	change<F extends { readonly fault: string }>(id: string, change: TokenChange<F>): Promise<F | NotStored | undefined>;
	/** When secrets were used last, by their hashes; false: not all of it is kept. */
	keepUses(uses: ReadonlyMap<string, number>): Promise<boolean>;
	/** Called when a token may allow less than before, by whatever node. */
	onLess(listener: () => void): void;
	close(): void;
}

/** A token that is used up is kept until it would have expired, too: only then nothing about it is of use. */
export function isOverSince({ expiresMs }: StoredToken, sinceMs: number): boolean {
	return expiresMs !== null && expiresMs < sinceMs;
}
