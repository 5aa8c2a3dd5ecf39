/** The tokens that Nexus has given out: made, listed, taken back, recognised. Kept as hashes, compared in constant time. */
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

export const API_TOKEN_PREFIX = "nxt_";
const API_TOKEN = /^nxt_([0-9a-f]{16})([A-Za-z0-9_-]{43})$/;
const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** Who comes with a token that is over or used up is told so for this long; then it is forgotten. */
const DEAD_KEPT_MS = 7 * 24 * 3_600_000;

/** What may be shown of a token. */
export interface ShownToken {
	readonly id: string;
	readonly kind: "join" | "api";
	/** Of a join token. */
	readonly service?: string;
	readonly uses?: number;
	readonly used?: number;
	/** Of an API token. */
	readonly role?: Role;
	readonly name?: string;
	/** ISO 8601; null: never. */
	readonly createdAt: string;
	readonly expiresAt: string | null;
	readonly state: "valid" | "expired" | "used_up";
}

export interface TooManyTokens {
	readonly fault: "too_many";
	readonly words: string;
}

export interface NoSuchToken {
	readonly fault: "not_found";
	readonly words: string;
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
	#indexed: IdentityState["tokens"] | undefined;
	readonly #byId = new Map<string, StoredToken>();

	constructor(state: StateFile, clock: Clock) {
		this.#state = state;
		this.#clock = clock;
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
		return (await this.#add(stored)) ?? { token, shown: shownToken(stored, createdMs) };
	}

	/** `text`: the token; it is nowhere else. `ttlMs` undefined: it holds until it is taken back. `keep` runs before it holds. */
	async createApi(
		wanted: { readonly role: Role; readonly name: string; readonly ttlMs?: number | undefined },
		keep?: (text: string) => Promise<void>,
	): Promise<{ readonly text: string; readonly shown: ShownToken } | TooManyTokens | NotKept> {
		const id = randomBytes(ID_BYTES).toString("hex");
		const secret = randomBytes(SECRET_BYTES);
		const createdMs = this.#clock.wallMs();
		const expiresMs = wanted.ttlMs === undefined ? null : createdMs + wanted.ttlMs;
		const stored: StoredApiToken = { kind: "api", id, hash: secretHashOf(secret), role: wanted.role, name: wanted.name, createdMs, expiresMs };
		const text = `${API_TOKEN_PREFIX}${id}${secret.toString("base64url")}`;
		await keep?.(text);
		return (await this.#add(stored)) ?? { text, shown: shownToken(stored, createdMs) };
	}

	/** The newest first. */
	list(): ShownToken[] {
		const nowMs = this.#clock.wallMs();
		return this.#state.current.tokens.map((token) => shownToken(token, nowMs)).reverse();
	}

	/** In effect with the next request that shows it. */
	remove(id: string): Promise<NoSuchToken | NotKept | undefined> {
		return this.#state.change<NoSuchToken>((state) => {
			const tokens = state.tokens.filter((token) => token.id !== id);
			return tokens.length === state.tokens.length ? { fault: "not_found", words: "there is no token of this id" } : { ...state, tokens };
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
	recogniseApi(text: string): { readonly ok: true; readonly token: StoredApiToken } | TokenRefused {
		const [, id = "", secret = ""] = API_TOKEN.exec(text) ?? [];
		const stored = this.#find(id);
		// Hashed in any case: how long it takes tells nothing about which ids there are.
		const hash = secretHashOf(Buffer.from(secret, "base64url"));
		if (stored?.kind !== "api" || !isSameSecretHash(hash, stored.hash)) return UNKNOWN;
		if (isExpired(stored, this.#clock.wallMs())) return { ok: false, words: `the token has expired at ${isoTime(stored.expiresMs)}` };
		return { ok: true, token: stored };
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

function spentOnce(token: StoredToken, id: string): StoredToken {
	return token.kind === "join" && token.id === id ? { ...token, used: token.used + 1 } : token;
}

function isExpired({ expiresMs }: StoredToken, nowMs: number): boolean {
	return expiresMs !== null && nowMs >= expiresMs;
}

/** A token that is used up is kept until it would have expired, too: only then nothing about it is of use. */
function isOverSince({ expiresMs }: StoredToken, sinceMs: number): boolean {
	return expiresMs !== null && expiresMs < sinceMs;
}

function shownToken(token: StoredToken, nowMs: number): ShownToken {
	const { id, kind, createdMs, expiresMs } = token;
	const times = { createdAt: new Date(createdMs).toISOString(), expiresAt: expiresMs === null ? null : isoTime(expiresMs) };
	const expired = isExpired(token, nowMs) ? "expired" : "valid";
	if (kind === "api") return { id, kind, role: token.role, name: token.name, ...times, state: expired };
	const state = token.used >= token.uses ? "used_up" : expired;
	return { id, kind, service: token.service, uses: token.uses, used: token.used, ...times, state };
}

function isoTime(ms: number | null): string {
	return new Date(ms ?? 0).toISOString();
}
