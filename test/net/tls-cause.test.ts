/** Every failure finds a reason, whatever is thrown; those of real handshakes are provoked where the ends of TLS are tested. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { REASONS } from "../../src/core/reasons.ts";
import { failureOf, failureOfVerdict, tlsFailure } from "../../src/net/tls-cause.ts";

function errorOf(code: string, message = "words"): Error {
	return Object.assign(new Error(message), { code });
}

function alert(number: number): Error {
	return errorOf("ERR_SSL_TLSV1_ALERT_X", `0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert x:rec_layer_s3.c:918:SSL alert number ${number}`);
}

describe("the reason of a failure", () => {
	it("is one of the catalogue for whatever is thrown", () => {
		const thrown: unknown[] = [undefined, null, 1, "text", {}, new Error(""), errorOf("EWHATEVER"), errorOf("ERR_SSL_NEVER_HEARD_OF"), [], () => {}];
		for (const one of thrown) {
			for (const role of ["server", "client"] as const) {
				const failure = failureOf(one, role);
				assert.equal(failure.reason, "tls_handshake_failed");
				assert.ok(failure.reason in REASONS);
				assert.equal(typeof failure.words, "string");
			}
		}
	});

	it("says of each alert that it was the peer who closed, and what it said", () => {
		for (let number = 0; number <= 255; number++) {
			const failure = failureOf(alert(number), "client");
			assert.equal(failure.endedBy, "peer");
			assert.match(failure.words, new RegExp(`alert ${number}\\b`));
			assert.ok(failure.reason in REASONS);
		}
		const of = (number: number): string => failureOf(alert(number), "client").reason;
		for (const number of [42, 43, 44, 45, 46, 48, 49]) assert.equal(of(number), "tls_refused_by_peer");
		assert.equal(of(116), "tls_no_client_cert");
		assert.equal(of(120), "tls_alpn_mismatch");
		assert.equal(of(70), "tls_protocol_too_old");
		assert.equal(of(40), "tls_no_shared_cipher");
		assert.equal(of(200), "tls_handshake_failed");
	});

	it("tells the two sides of plain text apart", () => {
		const error = errorOf("ERR_SSL_WRONG_VERSION_NUMBER");
		assert.equal(failureOf(error, "server").reason, "tls_plaintext_on_tls_port");
		assert.equal(failureOf(error, "client").reason, "tls_on_plaintext_port");
		const write = "write EPROTO 40D3:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:tlsany_meth.c:78:\n";
		assert.equal(failureOf(errorOf("EPROTO", write), "client").reason, "tls_on_plaintext_port");
	});

	it("tells who has ended it", () => {
		assert.equal(failureOf(errorOf("ECONNRESET"), "server").endedBy, "peer");
		assert.equal(failureOf(errorOf("ERR_SSL_NO_SHARED_CIPHER"), "server").endedBy, "us");
	});

	it("is in printable ASCII of bounded length, whatever the peer has made OpenSSL say", () => {
		const failure = failureOf(errorOf("ERR_SSL_ODD", `\u0000\u001b[31m\u00e9${"x".repeat(10_000)}`), "server");
		assert.match(failure.words, /^[\x20-\x7e]{1,512}$/);
		assert.match(tlsFailure("tls_handshake_failed", "a\nb", "us").words, /^a\?b$/);
	});
});

describe("a verdict of OpenSSL", () => {
	it("has a reason, known or not", () => {
		assert.equal(failureOfVerdict("CERT_HAS_EXPIRED").reason, "tls_cert_expired");
		assert.equal(failureOfVerdict("ERR_TLS_CERT_ALTNAME_INVALID").reason, "tls_san_mismatch");
		const odd = failureOfVerdict("SOMETHING_NEW");
		assert.equal(odd.reason, "tls_bad_certificate");
		assert.match(odd.words, /SOMETHING_NEW/);
	});
});
