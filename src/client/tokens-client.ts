/** Tokens for services that join and for callers of the API, as a client makes and takes them back. */
import { type CallOptions, type JsonCalls, path } from "./json-calls.ts";

export interface TokenInfo {
	readonly id: string;
	readonly kind: "join" | "api";
	readonly service?: string;
	readonly uses?: number;
	readonly used?: number;
	readonly role?: TokenRole;
	readonly name?: string;
	readonly createdAt: string;
	readonly expiresAt: string | null;
	readonly state: "valid" | "expired" | "used_up";
}

export type TokenRole = "read" | "ingest" | "operate";

/** `ttl`: a duration as in `10m`. */
export type TokenWish =
	/** With which a service gets its first certificate. */
	| { readonly service: string; readonly ttl?: string; readonly uses?: number }
	/** For a caller of this API. */
	| { readonly role: TokenRole; readonly name: string; readonly ttl?: string };

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

	/** The newest first, without their secrets. */
	async list(options: CallOptions = {}): Promise<readonly TokenInfo[]> {
		return (await this.#calls.json<{ tokens: readonly TokenInfo[] }>("/v1/tokens", options)).tokens;
	}

	create(wish: TokenWish, options: CallOptions = {}): Promise<NewToken> {
		return this.#calls.json("/v1/tokens", { ...options, method: "POST", body: wish });
	}

	async delete(id: string, options: CallOptions = {}): Promise<void> {
		await this.#calls.json(path`/v1/tokens/${id}`, { ...options, method: "DELETE" });
	}
}
