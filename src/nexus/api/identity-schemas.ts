/** Shapes of the API of the authority and of tokens. */
import { z } from "@hono/zod-openapi";
import { isRefusal } from "../../policy/fault.ts";
import { parseDuration } from "../../policy/values.ts";
import { ROLES } from "../authority/identity-state.ts";
import { SEQUENCE_DIGITS } from "./schemas.ts";

/** Longer than a poll needs to be; shorter than what boxes in between cut. */
const WAIT_MAX_MS = 60_000;
/** A token that lies about for longer is one that was forgotten. */
const JOIN_TTL_MAX_MS = 30 * 24 * 3_600_000;
const JOIN_TTL_DEFAULT = "10m";
const API_TTL_MAX_MS = 10 * 365 * 24 * 3_600_000;
const USES_MAX = 100_000;

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

export const tokenRequest = z
	.union([
		z.strictObject({
			service: z.string().min(1).max(2048),
			ttl: duration("How long it may be used.", JOIN_TTL_MAX_MS, "at most 30 days").prefault(JOIN_TTL_DEFAULT),
			uses: z.int().min(1).max(USES_MAX).default(1),
		}),
		z.strictObject({
			role: z.enum(ROLES),
			name: z.string().regex(/^[\x21-\x7e](?:[\x20-\x7e]{0,98}[\x21-\x7e])?$/, "is not 1 to 100 printable characters"),
			ttl: duration("How long it holds; without it until it is deleted.", API_TTL_MAX_MS, "at most 10 years").optional(),
		}),
	])
	.openapi("TokenRequest");

export const shownToken = z
	.object({
		id: z.string(),
		kind: z.enum(["join", "api"]),
		service: z.string().optional(),
		uses: z.int().optional(),
		used: z.int().optional(),
		role: z.enum(ROLES).optional(),
		name: z.string().optional(),
		createdAt: z.string(),
		expiresAt: z.string().nullable(),
		state: z.enum(["valid", "expired", "used_up"]),
	})
	.openapi("Token");

export const tokenAnswer = shownToken.extend({ token: z.string().openapi({ description: "Shown this once." }) }).openapi("NewToken");
export const tokensAnswer = z.object({ tokens: z.array(shownToken) }).openapi("Tokens");

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
