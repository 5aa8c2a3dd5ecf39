/** The tokens of all nodes that share a state: rows of it, changed by compare-and-set, watched by each node, and asked for by no request. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { parseToken, type StoredToken, TOKENS_MAX } from "../authority/identity-state.ts";
import { TableMirror } from "../registry/table-mirror.ts";
import { type CommitOutcome, remove, type StateStore, type Write } from "../state/state-store.ts";
import { TOO_MANY } from "./file-tokens.ts";
import { isOverSince, type NotStored, type StateAway, type TokenChange, type TokenStore, type TooManyTokens } from "./token-store.ts";
import { usedToken } from "./token-uses.ts";

export const TOKENS_TABLE = "tokens";
/** Of those that are long over, with each new one: a commit holds 128 writes. */
const FORGOTTEN_AT_ONCE = 100;
/** Tries of a change before it is given up: that many operators at once on one token are none. */
const TRIES = 16;
/** What the rows say is true to the minute: a node that finds a later use than its own a minute before leaves it. */
const USE_STEP_MS = 30_000;
const WRITTEN_AT_ONCE = 100;

export class StateTokens implements TokenStore {
	readonly #state: StateStore;
	readonly #mirror: TableMirror<StoredToken>;

	private constructor(state: StateStore, mirror: TableMirror<StoredToken>) {
		this.#state = state;
		this.#mirror = mirror;
	}

	/** Rejects with a readable error where the state cannot be read. */
	static async open(state: StateStore, clock: Clock, logger: Logger): Promise<StateTokens> {
		return new StateTokens(state, await TableMirror.open({ store: state, table: TOKENS_TABLE, parse: parseToken, clock, logger }));
	}

	find(id: string): StoredToken | undefined {
		return this.#mirror.get(id)?.value;
	}

	*all(): Iterable<StoredToken> {
		for (const [, { value }] of this.#mirror.entries()) yield value;
	}

	async add(token: StoredToken, forgottenMs: number): Promise<TooManyTokens | NotStored | undefined> {
		const over: Write[] = [];
		for (const [id, { value, revision }] of this.#mirror.entries()) {
			if (over.length < FORGOTTEN_AT_ONCE && isOverSince(value, forgottenMs)) over.push(remove(TOKENS_TABLE, id, revision));
		}
		if (this.#mirror.size - over.length >= TOKENS_MAX) return TOO_MANY;
		let outcome = await this.#mirror.put(token.id, token, 0, over);
		// Another node has forgotten them first.
		if (!outcome.ok && outcome.failure === "conflict") outcome = await this.#mirror.put(token.id, token, 0);
		return faultOf(outcome);
	}

	async change<F extends { readonly fault: string }>(id: string, change: TokenChange<F>): Promise<F | NotStored | undefined> {
		for (let tries = 0; tries < TRIES; tries++) {
			const read = await this.#state.get(TOKENS_TABLE, id);
			// What cannot be a key is the id of none.
			if (!read.ok && read.failure !== "invalid") return { fault: "unavailable", words: `the state cannot be read: ${read.detail}` };
			const { value, revision = 0 } = (read.ok ? read.value : undefined) ?? {};
			const token = parseToken(value);
			const next = change(token);
			if (next !== "gone" && "fault" in next) return next;
			if (next === token) return undefined;
			const outcome = next === "gone" ? await this.#mirror.remove(id, revision) : await this.#mirror.put(id, next, revision);
			if (outcome.ok || outcome.failure !== "conflict") return faultOf(outcome);
		}
		return BUSY;
	}

	async keepUses(uses: ReadonlyMap<string, number>): Promise<boolean> {
		const ids: string[] = [];
		for (const [id, { value }] of this.#mirror.entries()) if (usedToken(value, uses, USE_STEP_MS) !== value) ids.push(id);
		let isKept = true;
		for (let from = 0; from < ids.length; from += WRITTEN_AT_ONCE) {
			const written = ids.slice(from, from + WRITTEN_AT_ONCE).map((id) => {
				return this.change<typeof GONE>(id, (now) => (now === undefined ? GONE : usedToken(now, uses, USE_STEP_MS)));
			});
			isKept = (await Promise.all(written)).every((fault) => fault === undefined || fault === GONE) && isKept;
		}
		return isKept;
	}

	onLess(listener: () => void): void {
		this.#mirror.onChange((id, before) => {
			// Most changes only say when it was used last.
			if (before !== undefined && before.kind === "api" && rightsOf(before) !== rightsOf(this.find(id))) listener();
		});
	}

	close(): void {
		this.#mirror.close();
	}
}

function rightsOf(token: StoredToken | undefined): string {
	if (token?.kind !== "api") return "";
	const { hash, expiresMs, previous } = token;
	return `${hash} ${expiresMs} ${previous?.hash} ${previous?.untilMs}`;
}

const GONE = Object.freeze({ fault: "gone" });

const BUSY: StateAway = Object.freeze({ fault: "unavailable", words: "other nodes change this token all the time" });

function faultOf(outcome: CommitOutcome): StateAway | undefined {
	if (outcome.ok) return undefined;
	return { fault: "unavailable", words: outcome.failure === "conflict" ? BUSY.words : `the state did not take it: ${outcome.detail}` };
}
