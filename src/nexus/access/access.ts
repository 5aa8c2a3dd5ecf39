/** Who may do what with Nexus: from certificate, token and address of a request to its roles. Each request is asked anew. */
import { isIP } from "node:net";
import { REASONS } from "../../core/reasons.ts";
import { JOIN_TOKEN_PREFIX } from "../../identity/join-token.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import type { Problem } from "../../server/problem.ts";
import type { ServerRequest } from "../../server/server-request.ts";
import type { Role } from "../authority/identity-state.ts";
import type { PublishScope } from "./publish-scope.ts";
import type { Tokens } from "./tokens.ts";

/**
 * `none`: for everybody, also over plain text: is it alive, what does it offer. `member`: any verified identity, or role read. `publish`: role
 * ingest, or a token for some events alone.
 */
export type Needed = Role | "publish" | "member" | "none";

/** By role; `ingest` every identity has in any case. */
export type RolesOfIdentities = { readonly [R in Role]?: readonly string[] | undefined };

export interface AccessRules {
	/** Of callers on loopback that show neither certificate nor token. */
	readonly anonymous: readonly Role[];
	/** SPIFFE IDs. */
	readonly identities: RolesOfIdentities;
}

export interface AccessOptions {
	readonly rules: AccessRules;
	readonly tokens: Tokens;
	/** Where there is an authority. */
	readonly recheck: ((peer: VerifiedPeer) => TlsRefusal | undefined) | undefined;
}

/** `who`: for logs. `scope`: all that it may publish; undefined: everything. */
export type Admission =
	| { readonly ok: true; readonly who: string; readonly scope: PublishScope | undefined }
	| { readonly ok: false; readonly problem: Problem };

const BIT: Readonly<Record<Role | "publish", number>> = { read: 1, ingest: 2, operate: 4, publish: 8 };
const INGEST = BIT.ingest | BIT.publish;
/** Who may change everything may see everything, too. */
const IMPLIED: Readonly<Record<Role, number>> = { read: BIT.read, ingest: INGEST, operate: BIT.read | INGEST | BIT.operate };
const ANYBODY: Admission = Object.freeze({ ok: true, who: "anybody", scope: undefined });

export class Access {
	readonly #options: AccessOptions;
	readonly #anonymous: number;
	readonly #byIdentity = new Map<string, number>();

	constructor(options: AccessOptions) {
		this.#options = options;
		const { anonymous, identities } = options.rules;
		this.#anonymous = bitsOf(anonymous);
		for (const role of Object.keys(identities) as Role[]) {
			for (const uri of identities[role] ?? []) this.#byIdentity.set(uri, (this.#byIdentity.get(uri) ?? 0) | IMPLIED[role]);
		}
	}

	/** For each request: 0.2 us, 1.6 us with a token. */
	admit(req: ServerRequest, needed: Needed): Admission {
		if (needed === "none") return ANYBODY;
		const { caller, remoteAddress } = req;
		const isLocal = isLoopback(remoteAddress);
		const plain = this.plainTextRefusal(req);
		if (plain !== undefined) return { ok: false, problem: plain };
		let roles = isLocal ? this.#anonymous : 0;
		let who = roles === 0 ? "" : "a local caller";
		let scope: PublishScope | undefined;
		const { peer } = caller;
		if (peer !== undefined) {
			const refusal = this.#options.recheck?.(peer);
			if (refusal !== undefined) return { ok: false, problem: refused(refusal) };
			roles |= INGEST | (this.#byIdentity.get(peer.id.uri) ?? 0);
			who = peer.id.uri;
		}
		const authorization = req.header("authorization");
		if (authorization !== undefined) {
			const text = bearerOf(authorization);
			if (text === undefined) return { ok: false, problem: notBearer() };
			if (text.startsWith(JOIN_TOKEN_PREFIX)) return { ok: false, problem: unauthenticated("a join token gets a certificate, and nothing else") };
			const recognised = this.#options.tokens.recogniseApi(text);
			if (!recognised.ok) return { ok: false, problem: unauthenticated(recognised.words) };
			const { role, name, id } = recognised.token;
			scope = recognised.scope;
			roles |= scope === undefined ? IMPLIED[role] : BIT.publish;
			who = who.startsWith("spiffe:") ? who : `token ${id} (${name})`;
		}
		if (needed === "member" ? peer !== undefined || (roles & BIT.read) !== 0 : (roles & BIT[needed]) !== 0) return { ok: true, who, scope };
		const role = needed === "member" ? "read" : needed === "publish" ? "ingest" : needed;
		if (who === "" || (peer === undefined && authorization === undefined)) {
			return {
				ok: false,
				problem: unauthenticated(`neither certificate nor token was shown, and the role ${role} is needed`),
			};
		}
		return { ok: false, problem: unauthorized(who, role, scope !== undefined) };
	}

	/** A token that comes in the clear over a network is everybody's: where there could be TLS, it is not taken. */
	plainTextRefusal({ caller, remoteAddress }: ServerRequest): Problem | undefined {
		return caller.isSecure || this.#options.recheck === undefined || isLoopback(remoteAddress) ? undefined : PLAIN_TEXT;
	}
}

/** The token of an `authorization: Bearer` field (RFC 6750 2.1); undefined for any other scheme. */
export function bearerOf(field: string): string | undefined {
	return /^bearer +([A-Za-z0-9._~+/=-]+) *$/i.exec(field)?.[1];
}

/** 127.0.0.0/8 and ::1, also as a socket for both families writes them. */
export function isLoopback(address: string): boolean {
	const v4 = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
	return address === "::1" || (v4.startsWith("127.") && isIP(v4) === 4);
}

export function unauthenticated(detail: string): Problem {
	return {
		status: 401,
		title: "Who calls is not known.",
		detail: sentence(detail),
		reason: "unauthenticated",
		hint: "Show a certificate of the mesh, or `authorization: Bearer nxt_...`; `nexus token create` makes one.",
	};
}

function notBearer(): Problem {
	return unauthenticated("the authorization field is no `Bearer` with a token");
}

function unauthorized(who: string, role: Role, isScoped: boolean): Problem {
	return {
		status: 403,
		title: "The caller may not do this.",
		detail: isScoped ? `${who} may publish events of its types and sources, and nothing else.` : `${who} has not the role ${role}.`,
		reason: "unauthorized",
		hint: "Roles of identities stand under `access` in the configuration of Nexus; a token has one role.",
	};
}

function refused({ reason, words, hint }: TlsRefusal): Problem {
	return { status: 403, title: REASONS[reason].title, detail: sentence(words), reason, hint };
}

const PLAIN_TEXT: Problem = Object.freeze({
	status: 403,
	title: "This is served over TLS only.",
	detail: "The request came in plain text, and not from this machine.",
	reason: "tls_plaintext_on_tls_port",
	hint: "Use https:// on the same port.",
});

function bitsOf(roles: readonly Role[]): number {
	return roles.reduce((bits, role) => bits | IMPLIED[role], 0);
}

function sentence(words: string): string {
	return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}
