/** Join tokens, with which a sidecar gets its first certificate: made, written as text, read, and compared. Who keeps them is Nexus' matter. */
import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";
import * as z from "zod/mini";
import { secretBytes } from "../core/secret-bytes.ts";
import { spiffeIdOf } from "./spiffe-id.ts";

export const JOIN_TOKEN_PREFIX = "nxj_";

/** The rest is 200 characters; a SPIFFE ID has up to 2,048, and base64 makes a third more of them. */
const TEXT_LENGTH_MAX = 4 * 1024;
/** RFC 6750 asks for what nobody guesses: 256 bits. */
const SECRET_BYTES = 32;
const ID_BYTES = 8;

export interface JoinTokenFacts {
	/** The only service that it gives a certificate to. */
	readonly service: string;
	/** Under which Nexus lists it: 16 hexadecimal digits, no secret. */
	readonly id: string;
	/** SHA-256 of the DER of the root to trust at first, lower-case hexadecimal: the token alone tells Nexus from an impostor. */
	readonly root: string;
}

const CONTENT = z.strictObject({
	service: z.string().check(z.refine((service) => spiffeIdOf("any", service).ok)),
	id: z.string().check(z.regex(/^[0-9a-f]{16}$/)),
	// 32 bytes are 43 characters, of which the last carries four bits.
	secret: z.string().check(z.regex(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/)),
	root: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
});

/** Shows nothing of its secret when it is printed or made JSON; `text` is the only way out. */
export class JoinToken implements JoinTokenFacts {
	readonly service: string;
	readonly id: string;
	readonly root: string;
	readonly #secret: Buffer;

	constructor({ service, id, root }: JoinTokenFacts, secret: Buffer) {
		this.service = service;
		this.id = id;
		this.root = root;
		this.#secret = secret;
	}

	/** The whole token, secret included: for the file of the service and for `authorization: Bearer`. Keep no copy. */
	text(): string {
		const { service, id, root } = this;
		const content = { service, id, secret: this.#secret.toString("base64url"), root };
		return `${JOIN_TOKEN_PREFIX}${secretBytes(JSON.stringify(content)).toString("base64url")}`;
	}

	/** What Nexus stores in its place. A fast hash will do: there are 256 random bits to guess. */
	secretHash(): string {
		return secretHashOf(this.#secret);
	}

	[inspect.custom](): string {
		return `JoinToken { service: '${this.service}', id: '${this.id}' }`;
	}
}

export type JoinTokenReading = { readonly ok: true; readonly token: JoinToken } | { readonly ok: false; readonly fault: string };

export function createJoinToken({ service, root }: Pick<JoinTokenFacts, "service" | "root">): JoinToken {
	return new JoinToken({ service, root, id: randomBytes(ID_BYTES).toString("hex") }, randomBytes(SECRET_BYTES));
}

/** White space around it is read over, as files end with a line feed. The fault is one sentence, and never quotes the text. */
export function readJoinToken(text: string): JoinTokenReading {
	const token = text.trim();
	if (token.length > TEXT_LENGTH_MAX) return { ok: false, fault: `a join token has at most ${TEXT_LENGTH_MAX} characters` };
	if (!token.startsWith(JOIN_TOKEN_PREFIX)) return { ok: false, fault: `a join token begins with ${JOIN_TOKEN_PREFIX}` };
	const encoded = token.slice(JOIN_TOKEN_PREFIX.length);
	if (!/^[A-Za-z0-9_-]+$/.test(encoded)) return { ok: false, fault: "the join token has characters that are not base64url" };
	const content = CONTENT.safeParse(parsed(secretBytes(encoded, "base64url").toString()));
	if (!content.success) return { ok: false, fault: "the join token is damaged: was all of it copied?" };
	const { secret, ...facts } = content.data;
	return { ok: true, token: new JoinToken(facts, secretBytes(secret, "base64url")) };
}

/** SHA-256, lower-case hexadecimal. */
export function secretHashOf(secret: Uint8Array): string {
	return hash("sha256", secret, "hex");
}

/** Two such hashes, in a time that tells nothing about where they differ. */
export function isSameSecretHash(a: string, b: string): boolean {
	const [left, right] = [Buffer.from(a, "hex"), Buffer.from(b, "hex")];
	return left.length === right.length && left.length === SECRET_BYTES && timingSafeEqual(left, right);
}

function parsed(json: string): unknown {
	try {
		return JSON.parse(json);
	} catch (thrown) {
		if (thrown instanceof SyntaxError) return undefined;
		throw thrown;
	}
}
