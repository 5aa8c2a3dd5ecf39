/** What limits that many sidecars share need of a store: a few tokens at a time. The store itself, with its sockets, stands elsewhere. */

export interface LeaseQuestion {
	/** Names the bucket; free of secrets. */
	readonly key: string;
	/** How many are wanted, at least 1. */
	readonly tokens: number;
	readonly requestsPerSecond: number;
	readonly burst: number;
	readonly timeoutMs: number;
}

export type LeaseAnswer =
	/** `granted` 0..tokens. `retryAfterMs`: until the bucket holds a token (again). */
	| { readonly kind: "granted"; readonly granted: number; readonly retryAfterMs: number }
	/** The store did not answer, or not with this. `detail` names no secret. */
	| { readonly kind: "failed"; readonly detail: string };

export interface SharedStore {
	/** False while it is known that an answer would not come: nobody asks then, so nobody waits. */
	readonly available: boolean;
	/** Answers within `timeoutMs`, later only by as long as the event loop stands still. Never rejects. */
	lease(question: LeaseQuestion): Promise<LeaseAnswer>;
}

/** One store for each URL, shared by all limits that name it. */
export interface SharedStores {
	open(url: string): SharedStore;
	/** Closes those that no limit needs any more. */
	keep(urls: ReadonlySet<string>): void;
}
