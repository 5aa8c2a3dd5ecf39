/** `/identity` of the admin API: who this service is to others, how its connections are encrypted, and whose were not. Nothing that is secret. */
import type { Clock } from "../../core/clock.ts";
import type { TlsReason } from "../../identity/tls-refusal.ts";
import type { UpstreamTls } from "../../policy/identity-policy.ts";
import type { InboundPolicy, UpstreamPolicy } from "../../policy/snapshot.ts";
import { sendJson } from "../../server/problem.ts";
import type { PlaintextCaller } from "../telling/plaintext-callers.ts";
import type { TlsCounts } from "../telling/tls-counts.ts";
import type { TlsReport } from "../telling/tls-events.ts";
import type { CountedTlsFailure } from "../telling/tls-failures.ts";
import { isoTime } from "./answers.ts";
import type { AdminEndpoint } from "./router.ts";
import type { AdminView, TlsView } from "./view.ts";

export function identityEndpoints(view: AdminView, clock: Clock): readonly AdminEndpoint[] {
	return [
		{
			method: "GET",
			path: "/identity",
			summary: "certificate and trust bundle; how callers and upstreams are encrypted; who still comes in plain text; the last failures of TLS",
			run: ({ res }) => sendJson(res, 200, identityJson(view, clock.wallMs())),
		},
	];
}

function identityJson(view: AdminView, nowMs: number): Record<string, unknown> {
	const { snapshot, appliedAtMs } = view.policy();
	const tls = view.tls?.();
	return {
		service: snapshot.service,
		now: isoTime(nowMs),
		identity: view.identity?.() ?? null,
		/** Since when connections are counted. */
		since: tls === undefined ? null : isoTime(tls.report.sinceMs),
		inbound: snapshot.inbound === undefined ? null : inboundJson(snapshot.inbound, tls, appliedAtMs),
		upstreams: Array.from(snapshot.upstreams.values(), (upstream) => upstreamJson(upstream, tls?.report)),
		cut: tls === undefined ? {} : Object.fromEntries(tls.report.cut),
		failures: tls?.report.failures.map(failureJson) ?? [],
	};
}

function inboundJson({ tls: { mode, minVersion } }: InboundPolicy, tls: TlsView | undefined, appliedAtMs: number): Record<string, unknown> {
	const { report, handshakes, plaintextOpen } = tls ?? {};
	const last = report?.lastPlaintextMs;
	return {
		tls: mode,
		...(mode === "off" ? {} : { minVersion }),
		connections: connectionsJson(report, "inbound", "inbound"),
		handshakes: handshakes ?? null,
		plaintext: {
			/** Another policy may have closed the port to plain text until this one was applied. */
			watchedSince: isoTime(Math.max(appliedAtMs, report?.sinceMs ?? 0)),
			open: plaintextOpen ?? 0,
			last: last === undefined ? null : isoTime(last),
			callers: report?.plaintextCallers.map(callerJson) ?? [],
		},
	};
}

function upstreamJson({ name, tls }: UpstreamPolicy, report: TlsReport | undefined): Record<string, unknown> {
	return { name, ...wantedPeer(tls), connections: connectionsJson(report, "outbound", name) };
}

function wantedPeer(tls: UpstreamTls): Record<string, string> {
	switch (tls.kind) {
		case "off":
			return { tls: "off" };
		case "mesh":
			return { tls: "mesh", expected: tls.expected };
		case "external":
			return { tls: "external", serverName: tls.serverName, minVersion: tls.minVersion };
	}
}

interface ConnectionsJson extends Pick<TlsCounts, "full" | "resumed" | "plaintext" | "failed"> {
	readonly reasons: Partial<Record<TlsReason, number>>;
}

function connectionsJson(report: TlsReport | undefined, direction: TlsCounts["direction"], name: string): ConnectionsJson {
	const counts = report?.places.find((place) => place.direction === direction && place.name === name);
	if (counts === undefined) return { full: 0, resumed: 0, plaintext: 0, failed: 0, reasons: {} };
	const { full, resumed, plaintext, failed, reasons } = counts;
	return { full, resumed, plaintext, failed, reasons: Object.fromEntries(reasons) };
}

function callerJson({ firstMs, lastMs, ...caller }: PlaintextCaller): Record<string, unknown> {
	return { ...caller, first: isoTime(firstMs), last: isoTime(lastMs) };
}

function failureJson({ firstMs, lastMs, ...failure }: CountedTlsFailure): Record<string, unknown> {
	return { ...failure, first: isoTime(firstMs), last: isoTime(lastMs) };
}
