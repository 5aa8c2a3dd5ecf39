/** How the servers of an engine are reached: TLS from files that are read anew for each connection, and what went wrong with it in words. */
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate, type SecureContext } from "node:tls";
import { codeOf, messageOf } from "../../core/errors.ts";
import { failureOf, failureOfVerdict, sslCodeOf, type TlsFailure } from "../../net/tls-cause.ts";
import { type SecretSource, secretOf } from "../config/secret-source.ts";
import { PemMaterial, type PemPaths } from "./pem-files.ts";

export interface EngineTls {
	/** Without `ca` the roots of this machine, without `cert` none is shown. */
	readonly files: PemPaths;
	/** The name in the certificate of the servers; undefined: the host that is connected to. */
	readonly serverName?: string;
}

/** As Node says it. */
const MISNAMED = "ERR_TLS_CERT_ALTNAME_INVALID";

/** What `tls.connect` takes. The key stands in the context, which shows nothing. */
export interface TlsParts {
	readonly secureContext: SecureContext;
	readonly servername?: string;
	readonly checkServerIdentity: (host: string, certificate: PeerCertificate) => Error | undefined;
}

/** `hosts`: those that may be connected to; of several, the certificate must name one; of none, whoever is connected to. Throws a readable error where a file cannot be used. */
export function tlsParts({ files, serverName }: EngineTls, hosts: readonly string[]): TlsParts {
	const reading = PemMaterial.read(files);
	if (!reading.ok) throw new Error(`TLS cannot be used: ${reading.fault}`);
	const { material } = reading;
	const made = material.context({ trust: material.roots === undefined ? "system" : { roots: [material.roots] }, minVersion: "TLSv1.2" });
	if (!made.ok) throw new Error(`TLS cannot be used: ${made.fault}`);
	const names = serverName === undefined ? hosts : [serverName];
	const [name = ""] = names;
	return {
		secureContext: made.context,
		// An address is no name that could be asked for (RFC 6066 section 3).
		...(names.length === 1 && isIP(name) === 0 ? { servername: name } : {}),
		checkServerIdentity(host, certificate) {
			const wanted = names.length === 0 ? [host] : names;
			if (wanted.some((each) => checkServerIdentity(each, certificate) === undefined)) return undefined;
			// Node's own words leave out what an address cannot be compared with.
			const words = `the certificate names ${certificate.subjectaltname ?? "nobody"}, and not ${wanted.join(", ")}`;
			return Object.assign(new Error(words), { code: MISNAMED });
		},
	};
}

export interface UrlAccess {
	/** With its login. */
	readonly url: string;
	/** For messages. */
	readonly host: string;
	/** Undefined: plain text. */
	readonly tls: TlsParts | undefined;
}

/** Secret and files are read now. Throws a readable error where the scheme and `tls` contradict each other. */
export function urlAccess(given: { readonly url: string | SecretSource; readonly tls?: EngineTls }, plain: string, secure: string): UrlAccess {
	const text = secretOf(given.url);
	const url = URL.parse(text);
	if (url?.protocol !== plain && url?.protocol !== secure) throw new Error(`the URL of the engine does not begin with ${plain}// or ${secure}//`);
	const isSecure = url.protocol === secure;
	if (given.tls !== undefined && !isSecure) throw new Error(`the URL begins with ${plain}//, and \`tls\` is given: write ${secure}//`);
	const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
	return { url: text, host: url.host, tls: isSecure ? tlsParts(given.tls ?? { files: {} }, [host]) : undefined };
}

/** Of `host:port`. */
export function hostOf(server: string): string {
	return server.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");
}

/** Why no connection was made: what is wrong with TLS or with the login, else what the library says. Quotes no secret. `isTls`: it was to be secure. */
export function connectFault(thrown: unknown, isTls: boolean): string {
	return accessFault(thrown) ?? messageOf(thrown) + hintOf(thrown, isTls);
}

/** A server of TLS 1.3 looks at our certificate after its own side of the handshake, and what it says as it closes may be lost on the way. */
export function hintOf(thrown: unknown, isTls: boolean): string {
	if (accessFault(thrown) !== undefined) return "";
	const isCut = causesOf(thrown).some((each) => CUT_CODES.has(codeOf(each) ?? "") || /\b(closed|ended|terminated)\b/i.test(messageOf(each)));
	if (!isCut) return "";
	return `; it was closed by the server, which may ${isTls ? "not accept our certificate, want one, or speak plain text" : "want TLS"}`;
}

/** As `connectFault`; undefined where it is about something else. */
export function accessFault(thrown: unknown): string | undefined {
	const chain = causesOf(thrown);
	for (const each of chain) {
		const failure = tlsFailureOf(each);
		if (failure !== undefined) return `TLS failed (${failure.reason}): ${failure.words}`;
	}
	// The library for Kafka takes a connection that is lost meanwhile for a login that is refused.
	const refused = chain.find((each, i) => isLoginRefused(each) && !chain.slice(i + 1).some((cause) => codeOf(cause) === "PLT_KFK_NETWORK"));
	return refused === undefined ? undefined : `the login was refused: ${messageOf(refused)}`;
}

function tlsFailureOf(thrown: unknown): Pick<TlsFailure, "reason" | "words"> | undefined {
	const code = codeOf(thrown) ?? "";
	// With the names that the certificate has.
	if (code === MISNAMED) return { reason: "tls_san_mismatch", words: messageOf(thrown) };
	if (sslCodeOf(thrown) !== undefined) return failureOf(thrown, "client");
	const verdict = failureOfVerdict(code);
	return verdict.reason === "tls_bad_certificate" ? undefined : verdict;
}

/** Each library has a way of its own to say so. */
function isLoginRefused(thrown: unknown): boolean {
	if (!(thrown instanceof Error)) return false;
	const code = codeOf(thrown) ?? "";
	return (
		// NATS
		thrown.name === "AuthorizationError" ||
		thrown.name === "UserAuthenticationExpiredError" ||
		// Redis
		/^(WRONGPASS|NOAUTH|NOPERM) /.test(thrown.message) ||
		// RabbitMQ
		code === "ACCESS_REFUSED" ||
		// Kafka
		code === "PLT_KFK_AUTHENTICATION" ||
		// PostgreSQL, class 28
		/^28[0-9A-Z]{3}$/.test(code)
	);
}

const CUT_CODES = new Set(["ECONNRESET", "EPIPE"]);
const CAUSES_MAX = 8;

/** From the outermost to the first cause. */
function causesOf(thrown: unknown): unknown[] {
	const chain: unknown[] = [];
	for (let each = thrown; each !== undefined && each !== null && chain.length < CAUSES_MAX; ) {
		chain.push(each);
		each = each instanceof AggregateError ? each.errors[0] : each instanceof Error ? each.cause : undefined;
	}
	return chain;
}
