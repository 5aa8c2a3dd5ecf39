/** What Nexus must not forget of identities: tokens, deny lists, the version of the trust bundle, a rotation under way. The document alone: no files. */
import { z } from "zod";

export const ROLES = ["read", "ingest", "operate"] as const;
export type Role = (typeof ROLES)[number];

/** The name of Nexus itself in every trust domain; no service may bear it. */
export const NEXUS_SERVICE = "nexus";

/** Ten thousand services that were each given a token this week. */
export const TOKENS_MAX = 10_000;
/** Patterns of what a producer may publish: a service sends a few types, under its own name. */
export const PATTERNS_MAX = 16;
export const PATTERN_CHARS_MAX = 256;
/** As the bundle, which carries them. */
export const DENIED_MAX = 10_000;

const fingerprint = z.string().regex(/^[0-9a-f]{64}$/);
const timeMs = z.number().nonnegative();

const token = {
	id: z.string().regex(/^[0-9a-f]{16}$/),
	/** SHA-256 of the secret. */
	hash: fingerprint,
	createdMs: timeMs,
};

const joinToken = z.strictObject({
	...token,
	kind: z.literal("join"),
	service: z.string(),
	expiresMs: timeMs,
	uses: z.int().positive(),
	used: z.int().nonnegative(),
});

const patterns = z.array(z.string().min(1).max(PATTERN_CHARS_MAX)).min(1).max(PATTERNS_MAX);

const apiToken = z.strictObject({
	...token,
	kind: z.literal("api"),
	role: z.enum(ROLES),
	name: z.string(),
	/** Null: never. */
	expiresMs: timeMs.nullable(),
	/** Of its secret: 1 more with each rotation. Without it: the first. */
	version: z.int().positive().optional(),
	rotatedMs: timeMs.optional(),
	/** Of the secret that `hash` is of. Without it: never. */
	lastUsedMs: timeMs.optional(),
	/** The secret before, which holds beside it for a while. */
	previous: z.strictObject({ hash: fingerprint, untilMs: timeMs, lastUsedMs: timeMs.optional() }).optional(),
	/** What may be published with it; without them everything. */
	types: patterns.optional(),
	sources: patterns.optional(),
});

const rotation = z.strictObject({
	what: z.enum(["intermediate", "root"]),
	/**
	 * add: the new root is being made known · issue: the new intermediate issues, the old certificates are being replaced ·
	 * retire: the old one is trusted no more, its files are being replaced
	 */
	step: z.enum(["add", "issue", "retire"]),
	/** Of the bundle that began this step. */
	version: z.int().positive(),
	startedMs: timeMs,
	stepMs: timeMs,
	/** Of what issues in the end. */
	next: fingerprint,
});

const anyToken = z.discriminatedUnion("kind", [joinToken, apiToken]);

const document = z.strictObject({
	format: z.literal(1),
	version: z.int().nonnegative(),
	rotation: rotation.nullable(),
	/** `untilMs`: when the certificate ends by itself; null where that is not known. */
	deniedSerials: z.array(z.strictObject({ serial: z.string().regex(/^[0-9a-f]{1,42}$/), untilMs: timeMs.nullable() })).max(DENIED_MAX),
	deniedIdentities: z.array(z.string()).max(DENIED_MAX),
	tokens: z.array(anyToken).max(TOKENS_MAX),
});

export type StoredJoinToken = z.infer<typeof joinToken>;
export type StoredApiToken = z.infer<typeof apiToken>;
export type StoredToken = StoredJoinToken | StoredApiToken;
export type RotationState = z.infer<typeof rotation>;
export type IdentityState = Readonly<z.infer<typeof document>>;

export const EMPTY_STATE: IdentityState = Object.freeze({
	format: 1,
	version: 0,
	rotation: null,
	deniedSerials: [],
	deniedIdentities: [],
	tokens: [],
});

/** A string says what is wrong, and quotes nothing. */
export function parseIdentityState(text: string): IdentityState | string {
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch {
		return "it is not JSON";
	}
	const parsed = document.safeParse(json);
	if (parsed.success) return parsed.data;
	return `it has not the form that this version writes, at ${parsed.error.issues[0]?.path.join(".") || "its top"}`;
}

/** Undefined: it has not the form that this version writes. */
export function parseToken(value: unknown): StoredToken | undefined {
	return anyToken.safeParse(value).data;
}

/**
 * Versions are seconds since 1970, and always at least one more than before: a Nexus whose data was lost, or restored from a backup, still
 * counts above what it has handed out, and every sidecar takes its bundle (docs/decisions/0061).
 */
export function nextVersion(version: number, nowMs: number): number {
	return Math.max(version + 1, Math.floor(nowMs / 1000));
}
