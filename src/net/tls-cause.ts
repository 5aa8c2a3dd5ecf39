/**
 * Why a connection over TLS has failed, in our words: from the codes of OpenSSL and the system to a reason of the catalogue. Total: whatever
 * is thrown finds a reason. What a certificate means is not judged here; where OpenSSL has judged one, its verdict is translated.
 */
import { codeOf, messageOf } from "../core/errors.ts";
import type { Reason } from "../core/reasons.ts";

export type TlsCause = Extract<Reason, `tls_${string}`>;

/** Which side has ended it: we, the peer, or neither (the network, a limit of time). */
export type EndedBy = "us" | "peer" | "neither";

export interface TlsFailure {
	readonly ok: false;
	readonly reason: TlsCause;
	/** One sentence, printable ASCII of bounded length. */
	readonly words: string;
	readonly endedBy: EndedBy;
}

/** Whose socket has failed: the one that was called, or the caller's. */
export type TlsRole = "server" | "client";

// A message of OpenSSL with its file name and the words around it.
const WORDS_LENGTH_MAX = 512;

export function tlsFailure(reason: TlsCause, words: string, endedBy: EndedBy): TlsFailure {
	return { ok: false, reason, words: words.slice(0, WORDS_LENGTH_MAX).replace(/[^\x20-\x7e]/g, "?"), endedBy };
}

interface Meaning {
	readonly reason: TlsCause;
	readonly words: string;
}

function meaning(reason: TlsCause, words: string): Meaning {
	return Object.freeze({ reason, words });
}

/** What the peer says of us as it closes (RFC 8446 6.2; 41 to 46 and 60 from RFC 5246 7.2). The description of an alert is one byte. */
const ALERTS: ReadonlyMap<number, Meaning> = new Map([
	[10, meaning("tls_handshake_failed", "unexpected message")],
	[20, meaning("tls_handshake_failed", "bad record MAC")],
	[22, meaning("tls_handshake_failed", "record too long")],
	[40, meaning("tls_no_shared_cipher", "handshake failure: no cipher, group or signature in common, or no certificate where one is needed")],
	[41, meaning("tls_no_client_cert", "no certificate")],
	[42, meaning("tls_refused_by_peer", "bad certificate")],
	[43, meaning("tls_refused_by_peer", "unsupported certificate")],
	[44, meaning("tls_refused_by_peer", "certificate revoked")],
	[45, meaning("tls_refused_by_peer", "certificate expired")],
	[46, meaning("tls_refused_by_peer", "certificate unknown")],
	[47, meaning("tls_handshake_failed", "illegal parameter")],
	[48, meaning("tls_refused_by_peer", "unknown certificate authority")],
	[49, meaning("tls_refused_by_peer", "access denied")],
	[50, meaning("tls_handshake_failed", "decode error")],
	[51, meaning("tls_handshake_failed", "decrypt error")],
	[70, meaning("tls_protocol_too_old", "protocol version")],
	[71, meaning("tls_no_shared_cipher", "insufficient security")],
	[80, meaning("tls_handshake_failed", "internal error")],
	[86, meaning("tls_handshake_failed", "inappropriate fallback")],
	[90, meaning("tls_handshake_reset", "user canceled")],
	[100, meaning("tls_handshake_failed", "no renegotiation")],
	[109, meaning("tls_handshake_failed", "missing extension")],
	[110, meaning("tls_handshake_failed", "unsupported extension")],
	[112, meaning("tls_san_mismatch", "unrecognized name")],
	[113, meaning("tls_refused_by_peer", "bad certificate status")],
	[115, meaning("tls_refused_by_peer", "unknown PSK identity")],
	[116, meaning("tls_no_client_cert", "certificate required")],
	[120, meaning("tls_alpn_mismatch", "no application protocol")],
]);

/** What our own OpenSSL finds, by the code that Node makes of its reason. */
const FOUND: ReadonlyMap<string, Meaning> = new Map([
	["ERR_SSL_HTTP_REQUEST", meaning("tls_plaintext_on_tls_port", "an HTTP request came in plain text")],
	["ERR_SSL_HTTPS_PROXY_REQUEST", meaning("tls_plaintext_on_tls_port", "a CONNECT request came in plain text")],
	["ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", meaning("tls_no_client_cert", "the caller has shown no certificate")],
	["ERR_SSL_UNSUPPORTED_PROTOCOL", meaning("tls_protocol_too_old", "the peer offers no version of TLS that is spoken here")],
	["ERR_SSL_UNKNOWN_PROTOCOL", meaning("tls_protocol_too_old", "the peer offers no version of TLS that is spoken here")],
	["ERR_SSL_VERSION_TOO_LOW", meaning("tls_protocol_too_old", "the peer's version of TLS is below the least that is spoken here")],
	["ERR_SSL_WRONG_SSL_VERSION", meaning("tls_protocol_too_old", "the peer has chosen a version of TLS that is not spoken here")],
	["ERR_SSL_NO_SHARED_CIPHER", meaning("tls_no_shared_cipher", "no cipher suite in common")],
	["ERR_SSL_NO_SUITABLE_KEY_SHARE", meaning("tls_no_shared_cipher", "no key exchange group in common")],
	["ERR_SSL_NO_SHARED_GROUP", meaning("tls_no_shared_cipher", "no key exchange group in common")],
	["ERR_SSL_NO_SHARED_GROUPS", meaning("tls_no_shared_cipher", "no key exchange group in common")],
	["ERR_SSL_NO_SUITABLE_GROUPS", meaning("tls_no_shared_cipher", "no key exchange group in common")],
	["ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM", meaning("tls_no_shared_cipher", "no signature algorithm in common")],
	["ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS", meaning("tls_no_shared_cipher", "no signature algorithm in common")],
	["ERR_SSL_NO_APPLICATION_PROTOCOL", meaning("tls_alpn_mismatch", "no application protocol in common")],
	["ERR_SSL_BAD_EXTENSION", meaning("tls_handshake_failed", "the peer has sent an extension that cannot be read")],
	["ERR_TLS_RENEGOTIATION_DISABLED", meaning("tls_handshake_failed", "the peer asked to negotiate anew, which is refused")],
	["ERR_TLS_SESSION_ATTACK", meaning("tls_handshake_failed", "the peer asked to negotiate anew, which is refused")],
	["ERR_SSL_UNEXPECTED_EOF_WHILE_READING", meaning("tls_handshake_reset", "the connection ended in the middle of the handshake")],
	["ECONNRESET", meaning("tls_handshake_reset", "the connection was reset during the handshake")],
	["EPIPE", meaning("tls_handshake_reset", "the connection was closed during the handshake")],
	["ETIMEDOUT", meaning("tls_handshake_timeout", "the peer has stopped answering")],
]);

/** What OpenSSL finds wrong with a chain, where it is the judge: towards services outside of the mesh. `X509_V_ERR_*` of x509_vfy.h. */
const VERDICTS: ReadonlyMap<string, Meaning> = new Map([
	["CERT_HAS_EXPIRED", meaning("tls_cert_expired", "a certificate of the chain has expired")],
	["CERT_NOT_YET_VALID", meaning("tls_cert_not_yet_valid", "a certificate of the chain is not valid yet")],
	["CERT_REVOKED", meaning("tls_cert_revoked", "a certificate of the chain is revoked")],
	["UNABLE_TO_GET_ISSUER_CERT", meaning("tls_unknown_ca", "the issuer of a certificate is not known")],
	["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", meaning("tls_unknown_ca", "the issuer of a certificate is not trusted here")],
	["UNABLE_TO_VERIFY_LEAF_SIGNATURE", meaning("tls_unknown_ca", "the certificate came without those that link it to a trusted authority")],
	["SELF_SIGNED_CERT_IN_CHAIN", meaning("tls_unknown_ca", "the chain ends in a root that is not trusted here")],
	["DEPTH_ZERO_SELF_SIGNED_CERT", meaning("tls_unknown_ca", "the certificate is signed by itself")],
	["CERT_UNTRUSTED", meaning("tls_unknown_ca", "the root of the chain is not trusted for this use")],
	["CERT_REJECTED", meaning("tls_unknown_ca", "the root of the chain is marked as refused for this use")],
	["INVALID_PURPOSE", meaning("tls_wrong_key_usage", "a certificate of the chain was not issued for this use")],
	["HOSTNAME_MISMATCH", meaning("tls_san_mismatch", "the certificate does not name this host")],
	["ERR_TLS_CERT_ALTNAME_INVALID", meaning("tls_san_mismatch", "the certificate does not name this host")],
	["INVALID_CA", meaning("tls_chain_invalid", "a certificate of the chain may not issue others")],
	["PATH_LENGTH_EXCEEDED", meaning("tls_chain_invalid", "the chain is longer than its authority allows")],
	["CERT_CHAIN_TOO_LONG", meaning("tls_chain_invalid", "the chain has too many certificates")],
]);

/** As Node names what OpenSSL has found; undefined: the error is none of TLS. A failed write has it only in its text. */
export function sslCodeOf(error: unknown): string | undefined {
	const code = codeOf(error);
	if (code?.startsWith("ERR_SSL_") === true) return code;
	const reason = code === "EPROTO" ? /:SSL routines:[^:]*:([^:]+):/.exec(messageOf(error))?.[1] : undefined;
	return reason === undefined ? undefined : `ERR_SSL_${reason.toUpperCase().replaceAll(" ", "_")}`;
}

/** Of a socket's error, before or after the handshake. */
export function failureOf(error: unknown, role: TlsRole): TlsFailure {
	const code = sslCodeOf(error) ?? codeOf(error) ?? "";
	const message = messageOf(error);
	const alert = alertOf(code, message);
	if (alert !== undefined) {
		const said = ALERTS.get(alert);
		if (said === undefined) return tlsFailure("tls_handshake_failed", `the peer has closed with alert ${alert}`, "peer");
		return tlsFailure(said.reason, `the peer has closed with alert ${alert}: ${said.words}`, "peer");
	}
	// Told apart by the side: a caller that sends plain text, or a port that answers in it.
	if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
		return role === "server"
			? tlsFailure("tls_plaintext_on_tls_port", "what came first is not TLS", "us")
			: tlsFailure("tls_on_plaintext_port", "the answer is not TLS", "us");
	}
	const found = FOUND.get(code);
	if (found !== undefined) return tlsFailure(found.reason, found.words, found.reason === "tls_handshake_reset" ? "peer" : "us");
	return tlsFailure("tls_handshake_failed", code === "" ? message : `${code}: ${message}`, "us");
}

/** `code`: as OpenSSL or Node names what is wrong with a chain. */
export function failureOfVerdict(code: string): TlsFailure {
	const found = VERDICTS.get(code);
	return found === undefined
		? tlsFailure("tls_bad_certificate", `OpenSSL finds the chain of certificates invalid: ${code}`, "us")
		: tlsFailure(found.reason, found.words, "us");
}

/** OpenSSL names alerts of the peer in three families of codes; their number stands at the end of the message alone. */
function alertOf(code: string, message: string): number | undefined {
	if (!/^ERR_SSL_(SSLV3|TLSV1|TLSV13)_ALERT_/.test(code) && !message.includes("SSL alert number")) return undefined;
	const number = /SSL alert number (\d{1,3})/.exec(message)?.[1];
	return number === undefined ? undefined : Number(number);
}
