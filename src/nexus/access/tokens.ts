/** The tokens that Nexus has given out: made, rotated, listed, taken back, recognised. Kept as hashes, compared in constant time. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { createJoinToken, isSameSecretHash, type JoinToken, secretHashOf } from "../../identity/join-token.ts";
import {
	type IdentityState,
	type Role,
	type StoredApiToken,
	type StoredJoinToken,
	type StoredToken,
	TOKENS_MAX,
} from "../authority/identity-state.ts";
import type { NotKept, StateFile } from "../authority/state-file.ts";
import { PublishScope, type ScopePatterns } from "./publish-scope.ts";
import { rotatedToken } from "./rotated-token.ts";
import { isExpired, isoTime, type ShownToken, shownToken } from "./shown-token.ts";
import { byAge, markOf, placeOf } from "./token-place.ts";
import { TokenUses, usedToken } from "./token-uses.ts";

export const API_TOKEN_PREFIX = "nxt_";
const API_TOKEN = /^nxt_([0-9a-f]{16})([A-Za-z0-9_-]{43})$/;
const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** Who comes with a token that is over or used up is told so for this long; then it is forgotten. */
const DEAD_KEPT_MS = 7 * 24 * 3_600_000;

export interface TooManyTokens {
	readonly fault: "too_many";
	readonly words: string;
}

export interface NoSuchToken {
	readonly fault: "not_found";
	readonly words: string;
}

/** It is not one that can be rotated, or not now. */
export interface NotRotated {
	readonly fault: "not_rotated";
	readonly words: string;
}

/** Undefined: all may be published, where its role allows that at all. */
export interface RecognisedToken {
	readonly ok: true;
	readonly token: StoredApiToken;
	readonly scope: PublishScope | undefined;
}

/** `words` say more than "unknown" only to who has the secret. */
export interface TokenRefused {
	readonly ok: false;
	readonly words: string;
}

/** One use of a join token, held while a certificate is being issued: others find it taken. One of the two ends it. */
export interface TokenUse {
	readonly ok: true;
	readonly service: string;
	/** Resolves once the use is on disk, or with what the disk said; the use is free again then. */
	spend(): Promise<NotKept | undefined>;
	giveBack(): void;
}

export class Tokens {
	readonly #state: StateFile;
	readonly #clock: Clock;
	/** Uses that are held, by the id of the token. */
	readonly #held = new Map<string, number>();
	readonly #uses: TokenUses;
	readonly #scopes = new WeakMap<StoredApiToken, PublishScope>();
	#indexed: IdentityState["tokens"] | undefined;
	readonly #byId = new Map<string, StoredToken>();

	constructor(state: StateFile, clock: Clock) {
		this.#state = state;
		this.#clock = clock;
		this.#uses = new TokenUses(clock, (uses) => this.#keepUses(uses));
	}

	/** `root`: fingerprint of the root that the token shall name. */
	async createJoin(wanted: {
		readonly service: string;
		readonly ttlMs: number;
		readonly uses: number;
		readonly root: string;
	}): Promise<{ readonly token: JoinToken; readonly shown: ShownToken } | TooManyTokens | NotKept> {
		const token = createJoinToken(wanted);
		const createdMs = this.#clock.wallMs();
		const stored: StoredJoinToken = {
			kind: "join",
			id: token.id,
			hash: token.secretHash(),
			service: wanted.service,
			createdMs,
			expiresMs: createdMs + wanted.ttlMs,
			uses: wanted.uses,
			used: 0,
		};
		return (await this.#add(stored)) ?? { token, shown: this.#shown(stored) };
	}

	/** `text`: the token; it is nowhere else. `ttlMs` undefined: it holds until it is taken back. `keep` runs before it holds. */
	async createApi(
		wanted: ScopePatterns & { readonly role: Role; readonly name: string; readonly ttlMs?: number | undefined },
		keep?: (text: string) => Promise<void>,
	): Promise<{ readonly text: string; readonly shown: ShownToken } | TooManyTokens | NotKept> {
		const { role, name, types, sources } = wanted;
		const id = randomBytes(ID_BYTES).toString("hex");
		const { text, hash } = newSecret(id);
		const createdMs = this.#clock.wallMs();
		const expiresMs = wanted.ttlMs === undefined ? null : createdMs + wanted.ttlMs;
		const scope = { ...(types && { types: [...types] }), ...(sources && { sources: [...sources] }) };
		const stored: StoredApiToken = { kind: "api", id, hash, role, name, createdMs, expiresMs, ...scope };
		await keep?.(text);
		return (await this.#add(stored)) ?? { text, shown: this.#shown(stored) };
	}

	/**
	 * Another secret for an API token. The one before holds for `graceMs` more, or until `retirePrevious`. `ttlMs` undefined: it ends as it would
	 * have ended.
	 */
	async rotate(
		id: string,
		wanted: { readonly graceMs: number; readonly ttlMs?: number | undefined },
	): Promise<{ readonly text: string; readonly shown: ShownToken } | NoSuchToken | NotRotated | NotKept> {
		const { text, hash } = newSecret(id);
		const nowMs = this.#clock.wallMs();
		const made: StoredApiToken[] = [];
		const fault = await this.#state.change<NoSuchToken | NotRotated>((state) => {
			const token = state.tokens.find((each) => each.id === id);
			if (token === undefined) return NOT_FOUND;
			const rotated = rotatedToken(token, { ...wanted, hash, nowMs, lastUse: this.#lastUse });
			if ("fault" in rotated) return rotated;
			made.push(rotated);
			return { ...state, tokens: state.tokens.map((each) => (each === token ? rotated : each)) };
		});
		const [rotated] = made;
		if (fault !== undefined || rotated === undefined) return fault ?? NOT_FOUND;
		return { text, shown: this.#shown(rotated) };
	}

	/** The secret before the last rotation holds no longer. */
	retirePrevious(id: string): Promise<NoSuchToken | NotKept | undefined> {
		return this.#state.change<NoSuchToken>((state) => {
			const token = state.tokens.find((each) => each.id === id);
			if (token?.kind !== "api" || token.previous === undefined)
				return { fault: "not_found", words: "there is no token of this id that has two secrets" };
			// It stays known for a while, so that who comes with it is told more than "unknown".
			const retired = { ...token, previous: { ...token.previous, untilMs: Math.min(token.previous.untilMs, this.#clock.wallMs()) } };
			return { ...state, tokens: state.tokens.map((each) => (each === token ? retired : each)) };
		});
	}

	/** The newest first; behind `after`, which an earlier page has given. */
	page(after: string | undefined, limit: number): { readonly tokens: readonly ShownToken[]; readonly next: string | null } {
		const ordered = [...this.#state.current.tokens].sort(byAge);
		const mark = after === undefined ? undefined : markOf(after);
		const rest = mark === undefined ? ordered : ordered.filter((token) => byAge(token, mark) > 0);
		const shown = rest.slice(0, limit);
		const last = shown.at(-1);
		return { tokens: shown.map((token) => this.#shown(token)), next: last === undefined || rest.length === shown.length ? null : placeOf(last) };
	}

	/** In effect with the next request that shows it. */
	remove(id: string): Promise<NoSuchToken | NotKept | undefined> {
		return this.#state.change<NoSuchToken>((state) => {
			const tokens = state.tokens.filter((token) => token.id !== id);
			return tokens.length === state.tokens.length ? NOT_FOUND : { ...state, tokens };
		});
	}

	/** Whether somebody could still act as an operator by token. */
	hasOperator(): boolean {
		const nowMs = this.#clock.wallMs();
		return this.#state.current.tokens.some((token) => token.kind === "api" && token.role === "operate" && !isExpired(token, nowMs));
	}

	hasApiTokens(): boolean {
		return this.#state.current.tokens.some(({ kind }) => kind === "api");
	}

	/** About 1.5 us. */
	recogniseApi(text: string): RecognisedToken | TokenRefused {
		const [, id = "", secret = ""] = API_TOKEN.exec(text) ?? [];
		const stored = this.#find(id);
		// Hashed in any case: how long it takes tells nothing about which ids there are.
		const hash = secretHashOf(Buffer.from(secret, "base64url"));
		if (stored?.kind !== "api") return UNKNOWN;
		const nowMs = this.#clock.wallMs();
		if (isSameSecretHash(hash, stored.hash)) {
			if (isExpired(stored, nowMs)) return { ok: false, words: `the token has expired at ${isoTime(stored.expiresMs ?? 0)}` };
		} else {
			const { previous } = stored;
			if (previous === undefined || !isSameSecretHash(hash, previous.hash)) return UNKNOWN;
			if (nowMs >= previous.untilMs) {
				return { ok: false, words: `the token was rotated, and its former secret has ended at ${isoTime(previous.untilMs)}` };
			}
		}
		this.#uses.note(hash, nowMs);
		return { ok: true, token: stored, scope: this.#scopeOf(stored) };
	}

	/** Takes one use until it is spent or given back. */
	holdJoin(token: JoinToken): TokenUse | TokenRefused {
		const stored = this.#find(token.id);
		const isKnown = isSameSecretHash(token.secretHash(), stored?.hash ?? "");
		if (stored?.kind !== "join" || !isKnown || stored.service !== token.service) return UNKNOWN;
		if (isExpired(stored, this.#clock.wallMs())) return { ok: false, words: `the token has expired at ${isoTime(stored.expiresMs)}` };
		const held = this.#held.get(stored.id) ?? 0;
		if (stored.used + held >= stored.uses) {
			return { ok: false, words: stored.uses === 1 ? "the token has been used already" : `all ${stored.uses} uses of the token are spent` };
		}
		this.#held.set(stored.id, held + 1);
		let isOver = false;
		const giveBack = (): void => {
			if (isOver) return;
			isOver = true;
			const left = (this.#held.get(stored.id) ?? 1) - 1;
			if (left === 0) this.#held.delete(stored.id);
			else this.#held.set(stored.id, left);
		};
		const spend = async (): Promise<NotKept | undefined> => {
			try {
				return await this.#state.change<never>((state) => ({ ...state, tokens: state.tokens.map((each) => spentOnce(each, stored.id)) }));
			} finally {
				giveBack();
			}
		};
		return { ok: true, service: stored.service, spend, giveBack };
	}

	/** When tokens were used last is written down. */
	close(): Promise<void> {
		return this.#uses.close();
	}

	readonly #lastUse = (hash: string, storedMs: number | undefined): number | undefined => this.#uses.lastMs(hash, storedMs);

	#shown(token: StoredToken): ShownToken {
		return shownToken(token, this.#clock.wallMs(), this.#lastUse);
	}

	#scopeOf(token: StoredApiToken): PublishScope | undefined {
		const { types, sources } = token;
		if (types === undefined && sources === undefined) return undefined;
		let scope = this.#scopes.get(token);
		if (scope === undefined) {
			scope = new PublishScope({ types, sources });
			this.#scopes.set(token, scope);
		}
		return scope;
	}

	async #keepUses(uses: ReadonlyMap<string, number>): Promise<boolean> {
		const fault = await this.#state.change<never>((state) => ({ ...state, tokens: state.tokens.map((token) => usedToken(token, uses)) }));
		return fault === undefined;
	}

	#add(token: StoredToken): Promise<TooManyTokens | NotKept | undefined> {
		return this.#state.change<TooManyTokens>((state) => {
			const forgottenMs = this.#clock.wallMs() - DEAD_KEPT_MS;
			const kept = state.tokens.filter((each) => !isOverSince(each, forgottenMs));
			if (kept.length < TOKENS_MAX) return { ...state, tokens: [...kept, token] };
			return { fault: "too_many", words: `there are ${TOKENS_MAX} tokens: delete some (\`nexus token list\`, \`nexus token delete ID\`)` };
		});
	}

	#find(id: string): StoredToken | undefined {
		const { tokens } = this.#state.current;
		if (tokens !== this.#indexed) {
			this.#byId.clear();
			for (const token of tokens) this.#byId.set(token.id, token);
			this.#indexed = tokens;
		}
		return this.#byId.get(id);
	}
}

const UNKNOWN: TokenRefused = Object.freeze({ ok: false, words: "the token is unknown" });

const NOT_FOUND: NoSuchToken = Object.freeze({ fault: "not_found", words: "there is no token of this id" });

function newSecret(id: string): { readonly text: string; readonly hash: string } {
	const secret = randomBytes(SECRET_BYTES);
	return { text: `${API_TOKEN_PREFIX}${id}${secret.toString("base64url")}`, hash: secretHashOf(secret) };
}

function spentOnce(token: StoredToken, id: string): StoredToken {
	return token.kind === "join" && token.id === id ? { ...token, used: token.used + 1 } : token;
}

/** A token that is used up is kept until it would have expired, too: only then nothing about it is of use. */
function isOverSince({ expiresMs }: StoredToken, sinceMs: number): boolean {
	return expiresMs !== null && expiresMs < sinceMs;
}
