/**
 * The one catalogue of reasons and the one table that turns a failure into an answer (laws 4 and 10).
 * Everything else passes a `Reason`; only this file knows which status it becomes.
 */

/** Who is at fault: the client in front of us, the service behind us, or what stands between (policy, us). */
export type ReasonSide = "downstream" | "upstream" | "mesh";

export interface ReasonSpec {
	/** Status of the local answer, RFC 9110 section 15. */
	readonly status: number;
	/** One sentence for a person: what happened. */
	readonly title: string;
	/** One sentence: what to look at or change. */
	readonly hint: string;
	readonly side: ReasonSide;
	/** Whether the client's connection must close after the answer (its framing cannot be trusted any more). */
	readonly closes: boolean;
}

function spec(status: number, side: ReasonSide, title: string, hint: string, closes = false): ReasonSpec {
	return Object.freeze({ status, side, title, hint, closes });
}

export const REASONS = Object.freeze({
	bad_request: spec(
		400,
		"downstream",
		"The request is not well-formed HTTP/1.1.",
		"The detail names the rule and the offset; mend the client.",
		true,
	),
	head_too_large: spec(431, "downstream", "The header section is larger than the limit.", "Send fewer or smaller fields (64 KiB, 128 fields).", true),
	target_too_long: spec(414, "downstream", "The request target is longer than the limit.", "Move data from the URL to the body (16 KiB).", true),
	version_not_supported: spec(505, "downstream", "The HTTP version is not supported here.", "Use HTTP/1.1 or HTTP/1.0.", true),
	transfer_coding_not_supported: spec(501, "downstream", "The transfer coding is not supported.", "Use chunked alone.", true),
	expectation_failed: spec(417, "downstream", "The Expect field asks for something unknown.", "Only 100-continue is understood.", true),
	method_not_allowed: spec(405, "downstream", "The method is not served by this listener.", "CONNECT tunnels are not offered here.", true),
	request_timeout: spec(408, "downstream", "The request did not arrive in time.", "The client was too slow; see the limits of the listener.", true),
	misdirected_request: spec(
		421,
		"downstream",
		"The target names an address that this proxy does not serve.",
		"Use a service of the mesh as the host.",
	),
	unauthorized: spec(
		403,
		"mesh",
		"The service does not allow this request to this caller.",
		"The rule is named to its operators only, in log, decision trace and event; `nexus explain FILE --direction inbound --from CALLER` shows all of them.",
	),
	no_route: spec(404, "mesh", "No route and no upstream matches this request.", "Try `nexus explain FILE --url URL` to see what was considered."),
	loop_detected: spec(508, "mesh", "The request has passed too many sidecars.", "A route leads back to its own sidecar; look at the Via field."),
	max_forwards: spec(
		508,
		"mesh",
		"The request was to go no further than this sidecar.",
		"Its Max-Forwards field counts the proxies; raise it to see the next one.",
	),
	draining: spec(503, "mesh", "The sidecar is shutting down.", "Retry on another instance.", true),
	connection_limit: spec(503, "mesh", "The listener has reached its limit of connections.", "Raise the limit or add instances.", true),
	rate_limited: spec(
		429,
		"mesh",
		"A rate limit of the policy is used up.",
		"The detail names the limit; `retry-after` says when there is room again.",
	),
	breaker_open: spec(
		503,
		"upstream",
		"The circuit breaker is open: the upstream has failed too often.",
		"The field `retry-after` says when it will be tried again; /upstreams of the admin API shows the last errors.",
	),
	deadline_exceeded: spec(
		504,
		"mesh",
		"The time that the caller gave this request was over before it could be sent on.",
		"A hop before this one has used it up; see `x-nexus-deadline-ms` and the decision trace.",
	),
	fault_injected: spec(
		503,
		"mesh",
		"A fault was injected here on purpose.",
		"The detail names the fault; GET /faults of the admin API lists them, DELETE /faults/NAME ends one.",
	),
	application_not_ready: spec(
		503,
		"upstream",
		"The application behind this sidecar does not accept connections.",
		"Is it started, and does it listen where inbound.application says?",
	),
	no_healthy_endpoint: spec(503, "upstream", "The upstream has no healthy endpoint.", "Look at /upstreams of the admin API."),
	endpoint_overflow: spec(
		503,
		"upstream",
		"The pool and its queue are full.",
		"The detail says which is full: raise maxConnections, maxConcurrent or maxPending, or add endpoints.",
	),
	queue_timeout: spec(
		503,
		"upstream",
		"The request has waited too long for its turn.",
		"The detail says for what: a connection, room under a limit, or a rate.",
	),
	connect_refused: spec(503, "upstream", "The endpoint refused the connection.", "Does the service run, and on that port?"),
	connect_timeout: spec(504, "upstream", "The endpoint did not accept the connection in time.", "Is the address right and reachable?"),
	connect_failed: spec(503, "upstream", "The connection to the endpoint could not be made.", "The detail names the system's error."),
	upstream_reset: spec(502, "upstream", "The endpoint closed the connection before the answer was complete.", "Look at the log of the service."),
	upstream_idle_race: spec(
		502,
		"upstream",
		"A kept-alive connection was closed by the endpoint just as it was used again.",
		"Set the idle timeout of the service above that of the pool (60 s).",
	),
	upstream_protocol_error: spec(
		502,
		"upstream",
		"The endpoint answered with something that is not well-formed HTTP/1.1.",
		"The detail names the rule and the offset.",
	),
	per_try_timeout: spec(504, "upstream", "No try was answered within perTryTimeout.", "See retry.perTryTimeout of the upstream."),
	retry_budget_exhausted: spec(
		503,
		"upstream",
		"The request failed, and the upstream's retry budget is used up.",
		"The detail names the failure itself; more retries would add load to a service that has trouble.",
	),
	upstream_timeout: spec(504, "upstream", "The upstream did not answer within the request timeout.", "See timeout.request of the upstream."),
	body_timeout: spec(504, "upstream", "The answer of the upstream stalled.", "No byte arrived within timeout.idle."),
	client_closed: spec(
		499,
		"downstream",
		"The client went away before the answer was complete.",
		"It closed, or stopped reading for timeout.idle; nothing more was sent.",
		true,
	),
	tls_plaintext_on_tls_port: spec(
		400,
		"downstream",
		"Plain text came to a port that takes TLS only.",
		"The caller stands outside the mesh, or its policy says `tls: off`; `permissive` takes both.",
		true,
	),
	tls_on_plaintext_port: spec(
		502,
		"upstream",
		"One side speaks TLS, the other plain text.",
		"Compare `tls` of the upstream with `inbound.tls` of the service, and the port.",
	),
	tls_no_client_cert: spec(
		403,
		"downstream",
		"The caller has shown no certificate.",
		"Only callers with an identity of the mesh are let in: give it a sidecar with `identity`.",
		true,
	),
	tls_cert_expired: spec(
		502,
		"upstream",
		"A certificate of the peer is over.",
		"Its renewal has failed: look for `certificate.expiring` events of that service, and compare the clocks.",
	),
	tls_cert_not_yet_valid: spec(
		502,
		"upstream",
		"A certificate of the peer is not valid yet.",
		"It was issued for a later day; wait, or issue another one.",
	),
	tls_clock_skew: spec(
		502,
		"upstream",
		"By our clock the peer's certificate has not begun, though it was issued already.",
		"The clock of this machine, or that of the authority, is wrong: look at NTP on both.",
	),
	tls_unknown_ca: spec(
		502,
		"upstream",
		"The peer's certificate comes from an authority that is not in the trust bundle.",
		"The detail names the issuer; is one of the two sides still on an old bundle?",
	),
	tls_wrong_trust_domain: spec(
		502,
		"upstream",
		"The peer belongs to another trust domain.",
		"Compare `trustDomain` of both policies; a second domain is trusted once its roots are in the bundle.",
	),
	tls_san_mismatch: spec(
		502,
		"upstream",
		"The peer is not the service that was meant.",
		"The detail names both identities; do the endpoints of the upstream belong to that service?",
	),
	tls_cert_revoked: spec(
		502,
		"upstream",
		"The peer's certificate or identity is on the deny list.",
		"If that is an error, take it off the list; otherwise the peer needs a new certificate.",
	),
	tls_wrong_key_usage: spec(
		502,
		"upstream",
		"The peer's certificate was not issued for this use.",
		"It needs serverAuth to be called and clientAuth to call; certificates of the mesh have both.",
	),
	tls_chain_invalid: spec(
		502,
		"upstream",
		"The peer's chain of certificates breaks a rule of its authorities.",
		"The detail names certificate and rule: path length, name constraints, authority flag or an unknown critical extension.",
	),
	tls_bad_certificate: spec(
		502,
		"upstream",
		"The peer's certificate cannot be read, is signed wrongly or rests on weak algorithms.",
		"The detail names what is wrong; issue it anew.",
	),
	tls_protocol_too_old: spec(
		502,
		"upstream",
		"The two sides have no version of TLS in common.",
		"TLS 1.3 is spoken here, 1.2 only where configured.",
	),
	tls_alpn_mismatch: spec(
		502,
		"upstream",
		"The two sides have no application protocol in common.",
		"Compare `protocol` of the upstream with what the service speaks.",
	),
	tls_no_shared_cipher: spec(
		502,
		"upstream",
		"The two sides have no cipher suite, key exchange or signature algorithm in common.",
		"One of them is older than TLS 1.3 with P-256 or X25519, or restricted by hand.",
	),
	tls_refused_by_peer: spec(
		502,
		"upstream",
		"The peer has refused our certificate.",
		"The detail names its alert; the log of the peer says more, and its trust bundle must hold our root.",
	),
	tls_handshake_reset: spec(
		502,
		"upstream",
		"The connection was closed in the middle of the TLS handshake.",
		"The peer restarted, is overloaded, does not speak TLS on that port, or did not like our certificate: look at its log.",
	),
	tls_handshake_overflow: spec(
		503,
		"mesh",
		"Too many TLS handshakes are under way.",
		"Callers that reconnect for each request cause this; let them keep their connections.",
		true,
	),
	tls_handshake_timeout: spec(504, "upstream", "The TLS handshake was not done in time.", "The peer is overloaded, or it does not speak TLS."),
	tls_handshake_failed: spec(502, "upstream", "The TLS handshake failed.", "The detail names what the peer, or the TLS library, has said."),
	internal: spec(500, "mesh", "The sidecar failed in a way that is a fault of ours.", "Please report it with the log line.", true),
});

export type Reason = keyof typeof REASONS;

export const REASON_CODES: readonly Reason[] = Object.freeze(Object.keys(REASONS) as Reason[]);
