/** What becomes of an API token when it gets another secret: at most two hold at a time. Values in, values out. */
import type { StoredApiToken, StoredToken } from "../authority/identity-state.ts";
import { isExpired, isoTime, type LastUse } from "./shown-token.ts";

export interface Rotation {
	/** Of the new secret. */
	readonly hash: string;
	readonly nowMs: number;
	/** The secret before holds for so long. */
	readonly graceMs: number;
	/** The token holds for so long; undefined: until it would have ended. */
	readonly ttlMs?: number | undefined;
	readonly lastUse: LastUse;
}

export function rotatedToken(
	token: StoredToken,
	{ hash, nowMs, graceMs, ttlMs, lastUse }: Rotation,
): StoredApiToken | { readonly fault: "not_rotated"; readonly words: string } {
	if (token.kind !== "api") return refused("a join token is used up, not rotated: make another one");
	if (ttlMs === undefined && isExpired(token, nowMs)) return refused("the token has expired: say with `ttl` how long it is to hold again");
	const before = previousOf(token, nowMs, lastUse);
	if (before === undefined) {
		return refused(
			`two secrets of the token are in use, the former one until ${isoTime(token.previous?.untilMs ?? 0)}: retire that one first (DELETE /v1/tokens/${token.id}/previous)`,
		);
	}
	const { lastUsedMs: _, ...rest } = token;
	return {
		...rest,
		hash,
		version: (token.version ?? 1) + 1,
		rotatedMs: nowMs,
		expiresMs: ttlMs === undefined ? token.expiresMs : nowMs + ttlMs,
		previous: { ...before, untilMs: Math.min(nowMs + graceMs, before.untilMs) },
	};
}

type Previous = NonNullable<StoredApiToken["previous"]>;

/**
 * The secret that is to hold beside the new one, and how long it could; undefined where two are in use. One that nobody has ever used was lost on
 * its way: it goes, and the one before it stays.
 */
function previousOf({ hash, expiresMs, lastUsedMs, previous }: StoredApiToken, nowMs: number, lastUse: LastUse): Previous | undefined {
	const usedMs = lastUse(hash, lastUsedMs);
	if (previous !== undefined && nowMs < previous.untilMs) return usedMs === undefined ? previous : undefined;
	return { hash, untilMs: expiresMs ?? Number.MAX_SAFE_INTEGER, ...(usedMs === undefined ? {} : { lastUsedMs: usedMs }) };
}

function refused(words: string): { readonly fault: "not_rotated"; readonly words: string } {
	return { fault: "not_rotated", words };
}
