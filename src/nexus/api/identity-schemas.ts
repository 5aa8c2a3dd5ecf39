/** Shapes of the API of the authority and of tokens. */
import { z } from "@hono/zod-openapi";
import { isRefusal } from "../../policy/fault.ts";
import { parseDuration } from "../../policy/values.ts";
import { TOKEN_PLACE } from "../access/token-place.ts";
import { PATTERN_CHARS_MAX, PATTERNS_MAX, ROLES } from "../authority/identity-state.ts";
import { AFTER, limitQuery, nextPlace } from "./pages.ts";
import { SEQUENCE_DIGITS } from "./schemas.ts";

/** Longer than a poll needs to be; shorter than what boxes in between cut. */
const WAIT_MAX_MS = 60_000;
/** A token that lies about for longer is one that was forgotten. */
const JOIN_TTL_MAX_MS = 30 * 24 * 3_600_000;
const JOIN_TTL_DEFAULT = "10m";
const API_TTL_MAX_MS = 10 * 365 * 24 * 3_600_000;
const USES_MAX = 100_000;
/** Time to bring the new secret to whoever has the old one: a day. Who needs more than a month has forgotten it. */
const GRACE_DEFAULT = "24h";
const GRACE_MAX_MS = 30 * 24 * 3_600_000;

const duration = (description: string, maxMs: number, range: string) =>
	z
		.string()
		.max(64)
		.transform((given, context): number => {
			const ms = parseDuration(given);
			if (!isRefusal(ms) && ms <= maxMs) return ms;
			context.issues.push({ code: "custom", message: isRefusal(ms) ? `${ms.refused}: ${ms.hint}` : `is out of range: ${range}`, input: given });
			return z.NEVER;
		})
		.openapi({ type: "string", description, example: "10m" });

export const certificateRequest = z
	.strictObject({
		request: z
			.string()
			.max(16 * 1024)
			.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, "is not base64")
			.openapi({ description: "PKCS #10, DER, in base64." }),
	})
	.openapi("CertificateRequest");

export const trustBundle = z
	.object({
		version: z.int().openapi({ description: "Grows with every change." }),
		trustDomains: z.record(z.string(), z.string()).openapi({ description: "By trust domain: its root authorities, PEM." }),
		deniedSerials: z.array(z.string()),
		deniedIdentities: z.array(z.string()),
	})
	.openapi("TrustBundle");

export const certificateAnswer = z
	.object({ certificate: z.string().openapi({ description: "PEM, leaf first, then the intermediates." }), bundle: trustBundle })
	.openapi("CertificateAnswer");

export const bundleQuery = z.strictObject({
	after: z.string().regex(SEQUENCE_DIGITS, "is not a version: a whole number").default("0").openapi({
		description: "The version that the caller has; with a certificate this acknowledges it.",
		type: "integer",
		minimum: 0,
	}),
	wait: duration("How long to wait for a newer one.", WAIT_MAX_MS, "at most 60s").optional(),
});

export const bundleAnswer = z
	.object({ bundle: trustBundle, issuer: z.string().openapi({ description: "SHA-256 of the certificate that issues now, hexadecimal." }) })
	.openapi("BundleAnswer");

export const rotateRequest = z.strictObject({ what: z.enum(["intermediate", "root"]) }).openapi("RotateRequest");

export const denialRequest = z
	.union([z.strictObject({ serial: z.string().min(1).max(80) }), z.strictObject({ identity: z.string().min(1).max(2048) })])
	.openapi("Denial", { description: "A serial number in hexadecimal, or an identity: a SPIFFE ID, or the name of a service." });

export const versionAnswer = z.object({ bundleVersion: z.int() }).openapi("BundleVersion");

const apiTtl = (description: string) => duration(description, API_TTL_MAX_MS, "at most 10 years").optional();

const patterns = (of: string) =>
	z
		.array(z.string().min(1).max(PATTERN_CHARS_MAX))
		.min(1)
		.max(PATTERNS_MAX)
		.optional()
		.openapi({ description: `With role ingest: ${of} of events that may be published, and nothing else; \`*\` is any run of characters.` });

export const tokenRequest = z
	.union([
		z.strictObject({
			service: z.string().min(1).max(2048),
			ttl: duration("How long it may be used.", JOIN_TTL_MAX_MS, "at most 30 days").prefault(JOIN_TTL_DEFAULT),
			uses: z.int().min(1).max(USES_MAX).default(1),
		}),
		z
			.strictObject({
				role: z.enum(ROLES),
				name: z.string().regex(/^[\x21-\x7e](?:[\x20-\x7e]{0,98}[\x21-\x7e])?$/, "is not 1 to 100 printable characters"),
				ttl: apiTtl("How long it holds; without it until it is deleted."),
				types: patterns("types"),
				sources: patterns("sources"),
			})
			.refine(({ role, types, sources }) => role === "ingest" || (types === undefined && sources === undefined), {
				message: "is for role ingest alone",
				path: ["types"],
			}),
	])
	.openapi("TokenRequest");

export const rotateTokenRequest = z
	.strictObject({
		grace: duration("How long the secret before holds; `0s`: no longer.", GRACE_MAX_MS, "at most 30 days").prefault(GRACE_DEFAULT),
		ttl: apiTtl("How long the token holds from now on; without it until it would have ended."),
	})
	.openapi("TokenRotation");

export const tokensQuery = z.strictObject({
	after: z.string().regex(TOKEN_PLACE, "is not what a page has given").optional().openapi(AFTER),
	limit: limitQuery("Tokens"),
});

export const shownToken = z
	.object({
		id: z.string(),
		kind: z.enum(["join", "api"]),
		service: z.string().optional(),
		uses: z.int().optional(),
		used: z.int().optional(),
		role: z.enum(ROLES).optional(),
		name: z.string().optional(),
		types: z.array(z.string()).optional(),
		sources: z.array(z.string()).optional(),
		version: z.int().optional().openapi({ description: "Of the secret: 1 more with each rotation." }),
		rotatedAt: z.string().optional(),
		lastUsedAt: z.string().nullable().optional().openapi({ description: "Null: never. After a crash up to a minute may be missing." }),
		previous: z
			.object({ until: z.string(), lastUsedAt: z.string().nullable() })
			.optional()
			.openapi({ description: "The secret before the last rotation, while it holds." }),
		createdAt: z.string(),
		expiresAt: z.string().nullable(),
		state: z.enum(["valid", "expired", "used_up"]),
	})
	.openapi("Token");

export const tokenAnswer = shownToken.extend({ token: z.string().openapi({ description: "Shown this once." }) }).openapi("NewToken");
export const tokensAnswer = z.object({ tokens: z.array(shownToken), next: nextPlace }).openapi("Tokens");

const shownAuthority = z.object({
	subject: z.string(),
	serial: z.string(),
	fingerprint: z.string(),
	notBefore: z.string(),
	notAfter: z.string(),
	role: z.enum(["issuing", "trusted", "retiring"]),
});

const shownWorkload = z.object({
	identity: z.string(),
	address: z.string(),
	serial: z.string(),
	issuer: z.string(),
	notAfter: z.string(),
	bundleVersion: z.int(),
	lastSeen: z.string(),
});

export const authorityAnswer = z
	.object({
		trustDomain: z.string(),
		bundleVersion: z.int(),
		issuer: z.string(),
		certificateTtlMs: z.number(),
		hasRootKey: z.boolean(),
		roots: z.array(shownAuthority),
		intermediates: z.array(shownAuthority),
		deniedSerials: z.array(z.string()),
		deniedIdentities: z.array(z.string()),
		workloadCount: z.int(),
		workloads: z.array(shownWorkload).openapi({ description: "At most 1,000, those seen last first." }),
		rotation: z
			.object({
				what: z.enum(["intermediate", "root"]),
				step: z.enum(["add", "issue", "retire"]),
				startedAt: z.string(),
				stepSince: z.string(),
				patienceLeftMs: z.int(),
				waitsForCount: z.int(),
				waitsFor: z.array(shownWorkload.extend({ lacks: z.string() })).openapi({ description: "At most 100." }),
			})
			.nullable(),
	})
	.openapi("Authority");
