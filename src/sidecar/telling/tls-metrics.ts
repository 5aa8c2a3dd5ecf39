/** Shows on /metrics how TLS fares, and what the sidecar's certificate and trust bundle are. */
import type { Emit, MetricSource } from "../../metrics/source.ts";
import type { AdminView } from "../admin/view.ts";
import type { IdentityStatus } from "../identity/identity-status.ts";
import type { TlsCounts } from "./tls-counts.ts";

/** The same view as the admin API has, so that the two never disagree. */
export function tlsSource(view: Pick<AdminView, "tls" | "identity">): MetricSource {
	return {
		collect(emit) {
			const tls = view.tls?.();
			if (tls !== undefined) {
				for (const counts of tls.report.places) emitCounts(emit, counts);
				for (const [reason, count] of tls.report.cut) emit("nexus_tls_connections_cut_total", { reason }, count);
				emit("nexus_tls_handshakes_active", {}, tls.handshakes.underWay);
				emit("nexus_tls_handshakes_waiting", {}, tls.handshakes.waiting);
			}
			const identity = view.identity?.();
			if (identity !== undefined) emitIdentity(emit, identity);
		},
	};
}

function emitCounts(emit: Emit, { direction, name, full, resumed, plaintext, failed, reasons }: Readonly<TlsCounts>): void {
	// Together, at 0, with the first connection, so that `rate()` sees the first failure.
	for (const [result, count] of Object.entries({ full, resumed, plaintext, failed })) {
		emit("nexus_tls_connections_total", { direction, name, result }, count);
	}
	for (const [reason, count] of reasons) emit("nexus_tls_failures_total", { direction, name, reason }, count);
}

function emitIdentity(emit: Emit, { certificate, bundle, renewals }: IdentityStatus): void {
	if (certificate !== undefined) emit("nexus_certificate_not_after_seconds", {}, Date.parse(certificate.notAfter) / 1000);
	emit("nexus_certificate_renewals_total", { result: "renewed" }, renewals.renewed);
	emit("nexus_certificate_renewals_total", { result: "failed" }, renewals.failed);
	if (bundle !== undefined) emit("nexus_trust_bundle_version", {}, bundle.version);
}
