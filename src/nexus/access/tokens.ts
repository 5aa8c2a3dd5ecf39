/** The tokens that Nexus has given out: made, rotated, listed, taken back, recognised. Kept as hashes, compared in constant time. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { createJoinToken, isSameSecretHash, type JoinToken, secretHashOf } from "../../identity/join-token.ts";
import type { Role, StoredApiToken, StoredJoinToken, StoredToken } from "../authority/identity-state.ts";
import { PublishScope, type ScopePatterns } from "./publish-scope.ts";
import { rotatedToken } from "./rotated-token.ts";
import { isExpired, isoTime, type ShownToken, shownToken } from "./shown-token.ts";
import { byAge, markOf, placeOf } from "./token-place.ts";
import type { NotStored, TokenStore, TooManyTokens } from "./token-store.ts";
import { TokenUses } from "./token-uses.ts";

export const API_TOKEN_PREFIX = "nxt_";
const API_TOKEN = /^nxt_([0-9a-f]{16})([A-Za-z0-9_-]{43})$/;
const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** Who comes with a token that is over or used up is told so for this long; then it is forgotten. */
const DEAD_KEPT_MS = 7 * 24 * 3_600_000;

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

/** The last use of a join token was spent at another node meanwhile. */
export interface UsedUp {
	readonly fault: "used_up";
	readonly words: string;
}

/** One use of a join token, held while a certificate is being issued: others find it taken. One of the two ends it. */
export interface TokenUse {
	readonly ok: true;
	readonly service: string;
	/** Resolves once the use is durable, or with why it is not; it is free again then, where it is not used up. */
	spend(): Promise<NotStored | UsedUp | undefined>;
	giveBack(): void;
}

export class Tokens {
	readonly #store: TokenStore;
	readonly #clock: Clock;
	/** Uses that are held, by the id of the token. */
	readonly #held = new Map<string, number>();
	readonly #uses: TokenUses;
	readonly #scopes = new WeakMap<StoredApiToken, PublishScope>();

	constructor(store: TokenStore, clock: Clock) {
		this.#store = store;
		this.#clock = clock;
		this.#uses = new TokenUses(clock, (uses) => store.keepUses(uses));
	}

	/** `root`: fingerprint of the root that the token shall name. */
	async createJoin(wanted: {
		readonly service: string;
		readonly ttlMs: number;
		readonly uses: number;
		readonly root: string;
	}): Promise<{ readonly token: JoinToken; readonly shown: ShownToken } | TooManyTokens | NotStored> {
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
	): Promise<{ readonly text: string; readonly shown: ShownToken } | TooManyTokens | NotStored> {
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
	): Promise<{ readonly text: string; readonly shown: ShownToken } | NoSuchToken | NotRotated | NotStored> {
		const { text, hash } = newSecret(id);
		const nowMs = this.#clock.wallMs();
		// As of the last time that it was asked: another node may have been faster.
		let rotated: StoredApiToken | undefined;
		const fault = await this.#store.change<NoSuchToken | NotRotated>(id, (token) => {
			if (token === undefined) return NOT_FOUND;
			const next = rotatedToken(token, { ...wanted, hash, nowMs, lastUse: this.#lastUse });
			rotated = "fault" in next ? undefined : next;
			return next;
		});
		if (fault !== undefined || rotated === undefined) return fault ?? NOT_FOUND;
		return { text, shown: this.#shown(rotated) };
	}

	/** The secret before the last rotation holds no longer. */
	retirePrevious(id: string): Promise<NoSuchToken | NotStored | undefined> {
		return this.#store.change<NoSuchToken>(id, (token) => {
			if (token?.kind !== "api" || token.previous === undefined) {
				return { fault: "not_found", words: "there is no token of this id that has two secrets" };
			}
			// It stays known for a while, so that who comes with it is told more than "unknown".
			const untilMs = Math.min(token.previous.untilMs, this.#clock.wallMs());
			return { ...token, previous: { ...token.previous, untilMs } };
		});
	}

	/** The newest first; behind `after`, which an earlier page has given. */
	page(after: string | undefined, limit: number): { readonly tokens: readonly ShownToken[]; readonly next: string | null } {
		const ordered = [...this.#store.all()].sort(byAge);
		const mark = after === undefined ? undefined : markOf(after);
		const rest = mark === undefined ? ordered : ordered.filter((token) => byAge(token, mark) > 0);
		const shown = rest.slice(0, limit);
		const last = shown.at(-1);
		return { tokens: shown.map((token) => this.#shown(token)), next: last === undefined || rest.length === shown.length ? null : placeOf(last) };
	}

	/** In effect with the next request that shows it. */
	remove(id: string): Promise<NoSuchToken | NotStored | undefined> {
		return this.#store.change<NoSuchToken>(id, (token) => (token === undefined ? NOT_FOUND : "gone"));
	}

	/** Whether somebody could still act as an operator by token. */
	hasOperator(): boolean {
		const nowMs = this.#clock.wallMs();
		for (const token of this.#store.all()) if (token.kind === "api" && token.role === "operate" && !isExpired(token, nowMs)) return true;
		return false;
	}

	hasApiTokens(): boolean {
		for (const { kind } of this.#store.all()) if (kind === "api") return true;
		return false;
	}

	/** About 1.5 us. */
	recogniseApi(text: string): RecognisedToken | TokenRefused {
		const [, id = "", secret = ""] = API_TOKEN.exec(text) ?? [];
		const stored = this.#store.find(id);
		// Hashed in any case: how long it takes tells nothing about which ids there are.
		const hash = secretHashOf(Buffer.from(secret, "base64url"));
		if (stored?.kind !== "api") return UNKNOWN;
		const nowMs = this.#clock.wallMs();
		let usedMs = stored.lastUsedMs;
		if (isSameSecretHash(hash, stored.hash)) {
			if (isExpired(stored, nowMs)) return { ok: false, words: `the token has expired at ${isoTime(stored.expiresMs ?? 0)}` };
		} else {
			const { previous } = stored;
			if (previous === undefined || !isSameSecretHash(hash, previous.hash)) return UNKNOWN;
			if (nowMs >= previous.untilMs) {
				return { ok: false, words: `the token was rotated, and its former secret has ended at ${isoTime(previous.untilMs)}` };
			}
			usedMs = previous.lastUsedMs;
		}
		this.#uses.note(hash, nowMs, usedMs === undefined);
		return { ok: true, token: stored, scope: this.#scopeOf(stored) };
	}

	/** Takes one use until it is spent or given back. */
	holdJoin(token: JoinToken): TokenUse | TokenRefused {
		const stored = this.#store.find(token.id);
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
		const spend = async (): Promise<NotStored | UsedUp | undefined> => {
			try {
				return await this.#store.change<UsedUp>(stored.id, (now) =>
					now?.kind !== "join" || now.used >= now.uses ? USED_UP : { ...now, used: now.used + 1 },
				);
			} finally {
				giveBack();
			}
		};
		return { ok: true, service: stored.service, spend, giveBack };
	}

	/** Called when another node may have taken one back, or a secret of one. */
	onLess(listener: () => void): void {
		this.#store.onLess(listener);
	}

	/** When tokens were used last is written down. */
	async close(): Promise<void> {
		await this.#uses.close();
		this.#store.close();
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

	#add(token: StoredToken): Promise<TooManyTokens | NotStored | undefined> {
		return this.#store.add(token, this.#clock.wallMs() - DEAD_KEPT_MS);
	}
}

const UNKNOWN: TokenRefused = Object.freeze({ ok: false, words: "the token is unknown" });

const USED_UP: UsedUp = Object.freeze({ fault: "used_up", words: "the token has been used already" });

const NOT_FOUND: NoSuchToken = Object.freeze({ fault: "not_found", words: "there is no token of this id" });

function newSecret(id: string): { readonly text: string; readonly hash: string } {
	const secret = randomBytes(SECRET_BYTES);
	return { text: `${API_TOKEN_PREFIX}${id}${secret.toString("base64url")}`, hash: secretHashOf(secret) };
}
