/** What may be shown of a token. */
import type { Role, StoredApiToken, StoredToken } from "../authority/identity-state.ts";

/** Times are ISO 8601. */
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
	/** What may be published with it; without them everything. */
	readonly types?: readonly string[];
	readonly sources?: readonly string[];
	/** Of the secret: 1 more with each rotation. */
	readonly version?: number;
	readonly rotatedAt?: string;
	/** To the minute. Null: never. */
	readonly lastUsedAt?: string | null;
	/** The secret before, while it holds. */
	readonly previous?: { readonly until: string; readonly lastUsedAt: string | null };
	readonly createdAt: string;
	/** Null: never. */
	readonly expiresAt: string | null;
	readonly state: "valid" | "expired" | "used_up";
}

/** When the secret of a hash was used last: what is known beyond what is stored. */
export type LastUse = (hash: string, storedMs: number | undefined) => number | undefined;

export function shownToken(token: StoredToken, nowMs: number, lastUse: LastUse): ShownToken {
	const { id, kind, createdMs, expiresMs } = token;
	const times = { createdAt: isoTime(createdMs), expiresAt: expiresMs === null ? null : isoTime(expiresMs) };
	const expired = isExpired(token, nowMs) ? "expired" : "valid";
	if (kind === "api") return { id, kind, ...shownApi(token, nowMs, lastUse), ...times, state: expired };
	const state = token.used >= token.uses ? "used_up" : expired;
	return { id, kind, service: token.service, uses: token.uses, used: token.used, ...times, state };
}

export function isExpired({ expiresMs }: StoredToken, nowMs: number): boolean {
	return expiresMs !== null && nowMs >= expiresMs;
}

export function isoTime(ms: number): string {
	return new Date(ms).toISOString();
}

function shownApi(token: StoredApiToken, nowMs: number, lastUse: LastUse): Partial<ShownToken> {
	const { role, name, types, sources, version = 1, rotatedMs, hash, lastUsedMs, previous } = token;
	return {
		role,
		name,
		...(types && { types }),
		...(sources && { sources }),
		version,
		...(rotatedMs === undefined ? {} : { rotatedAt: isoTime(rotatedMs) }),
		lastUsedAt: timeOrNull(lastUse(hash, lastUsedMs)),
		...(previous === undefined || nowMs >= previous.untilMs
			? {}
			: { previous: { until: isoTime(previous.untilMs), lastUsedAt: timeOrNull(lastUse(previous.hash, previous.lastUsedMs)) } }),
	};
}

function timeOrNull(ms: number | undefined): string | null {
	return ms === undefined ? null : isoTime(ms);
}
