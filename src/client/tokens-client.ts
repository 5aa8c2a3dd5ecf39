/** Tokens for services that join and for callers of the API, as a client makes and takes them back. */
import { type CallOptions, type JsonCalls, path } from "./json-calls.ts";

export interface TokenInfo {
	readonly id: string;
	readonly kind: "join" | "api";
	/** Of a join token. */
	readonly service?: string;
	readonly uses?: number;
	readonly used?: number;
	/** Of an API token. */
	readonly role?: TokenRole;
	readonly name?: string;
	/** The only ones that it may publish; `*` is any run of characters. */
	readonly types?: readonly string[];
	readonly sources?: readonly string[];
	/** Of the secret: 1 more with each rotation. */
	readonly version?: number;
	readonly rotatedAt?: string;
	/** Null: never. After a crash up to a minute may be missing. */
	readonly lastUsedAt?: string | null;
	/** The secret before the last rotation, while it holds. */
	readonly previous?: { readonly until: string; readonly lastUsedAt: string | null };
	readonly createdAt: string;
	readonly expiresAt: string | null;
	readonly state: "valid" | "expired" | "used_up";
}

export type TokenRole = "read" | "ingest" | "operate";

/** `ttl`: a duration as in `10m`. */
export type TokenWish =
	/** With which a service gets its first certificate. */
	| { readonly service: string; readonly ttl?: string; readonly uses?: number }
	/** For a caller of this API. `types`, `sources`: with role `ingest`, the only ones that it may publish; `*` is any run of characters. */
	| {
			readonly role: TokenRole;
			readonly name: string;
			readonly ttl?: string;
			readonly types?: readonly string[];
			readonly sources?: readonly string[];
	  };

export interface TokenRotation extends CallOptions {
	/** How long the secret before holds, as in `24h`, which is the default; `0s`: no longer. */
	readonly grace?: string;
	/** How long the token holds from now on. Default: as long as before. */
	readonly ttl?: string;
}

/** The secret is in this answer alone. */
export interface NewToken extends TokenInfo {
	readonly token: string;
}

/** Each call rejects with a NexusError where it is refused. */
export class TokensClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	/** The newest first, without their secrets, page by page as they are asked for. */
	list(options: CallOptions = {}): AsyncGenerator<TokenInfo, void, void> {
		return this.#calls.list("/v1/tokens", "tokens", options);
	}

	create(wish: TokenWish, options: CallOptions = {}): Promise<NewToken> {
		return this.#calls.json("/v1/tokens", { ...options, method: "POST", body: wish });
	}

	/** Another secret for an API token; the one before holds for a while more. Rejects with status 409, `not_rotated`, while two are in use. */
	rotate(id: string, { grace, ttl, ...options }: TokenRotation = {}): Promise<NewToken> {
		return this.#calls.json(path`/v1/tokens/${id}/rotate`, { ...options, method: "POST", body: { grace, ttl } });
	}

	/** The secret before the last rotation holds no longer. */
	async retirePrevious(id: string, options: CallOptions = {}): Promise<void> {
		await this.#calls.json(path`/v1/tokens/${id}/previous`, { ...options, method: "DELETE" });
	}

	async delete(id: string, options: CallOptions = {}): Promise<void> {
		await this.#calls.json(path`/v1/tokens/${id}`, { ...options, method: "DELETE" });
	}
}
