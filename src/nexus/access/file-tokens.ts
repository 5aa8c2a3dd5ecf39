/** The tokens of a node that shares its state with nobody: in its file of identities. */
import { type IdentityState, type StoredToken, TOKENS_MAX } from "../authority/identity-state.ts";
import type { StateFile } from "../authority/state-file.ts";
import { isOverSince, type NotStored, type TokenChange, type TokenStore, type TooManyTokens } from "./token-store.ts";
import { usedToken } from "./token-uses.ts";

export class FileTokens implements TokenStore {
	readonly #file: StateFile;
	readonly #byId = new Map<string, StoredToken>();
	#indexed: IdentityState["tokens"] | undefined;

	constructor(file: StateFile) {
		this.#file = file;
	}

	find(id: string): StoredToken | undefined {
		const { tokens } = this.#file.current;
		if (tokens !== this.#indexed) {
			this.#byId.clear();
			for (const token of tokens) this.#byId.set(token.id, token);
			this.#indexed = tokens;
		}
		return this.#byId.get(id);
	}

	all(): Iterable<StoredToken> {
		return this.#file.current.tokens;
	}

	add(token: StoredToken, forgottenMs: number): Promise<TooManyTokens | NotStored | undefined> {
		return this.#file.change<TooManyTokens>((state) => {
			const kept = state.tokens.filter((each) => !isOverSince(each, forgottenMs));
			return kept.length < TOKENS_MAX ? { ...state, tokens: [...kept, token] } : TOO_MANY;
		});
	}

	change<F extends { readonly fault: string }>(id: string, change: TokenChange<F>): Promise<F | NotStored | undefined> {
		return this.#file.change<F>((state) => {
			const token = state.tokens.find((each) => each.id === id);
			const next = change(token);
			if (next === "gone") return { ...state, tokens: state.tokens.filter((each) => each !== token) };
			if ("fault" in next) return next;
			return next === token ? state : { ...state, tokens: state.tokens.map((each) => (each === token ? next : each)) };
		});
	}

	async keepUses(uses: ReadonlyMap<string, number>): Promise<boolean> {
		const fault = await this.#file.change<never>((state) => ({ ...state, tokens: state.tokens.map((token) => usedToken(token, uses)) }));
		return fault === undefined;
	}

	/** Nobody else changes them: who takes one back says so. */
	onLess(): void {}

	close(): void {}
}

export const TOO_MANY: TooManyTokens = Object.freeze({
	fault: "too_many",
	words: `there are ${TOKENS_MAX} tokens: delete some (\`nexus token list\`, \`nexus token delete ID\`)`,
});
