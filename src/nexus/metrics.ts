/** The Prometheus page of Nexus: plain counters of the other parts, read when someone scrapes. */
import type { HttpServer } from "../server/http-server.ts";
import type { Authority } from "./authority/authority.ts";
import type { Condition } from "./condition.ts";
import type { EventLog } from "./log/event-log.ts";
import type { Publishing } from "./publish/publishing.ts";
import { type SubscriptionReading, subscriptionReadings } from "./subscriptions/metrics.ts";
import type { Subscriptions } from "./subscriptions/subscriptions.ts";

export type LabelledReading = SubscriptionReading;

export interface MetricsSources {
	readonly condition: Condition;
	readonly log: EventLog;
	readonly publishing: Publishing;
	readonly subscriptions: Subscriptions;
	/** Of now. */
	readonly wallMs: number;
	/** Undefined until the server listens. */
	readonly refused: HttpServer["refused"] | undefined;
	readonly followers: number;
	readonly authority: Authority | undefined;
	readonly tlsFailures: number;
}

interface Reading {
	readonly name: string;
	readonly type: "counter" | "gauge";
	/** One sentence, with the unit. */
	readonly help: string;
	readonly value: number;
}

/** The page and its content type. prom-client is loaded with the first scrape: where nobody looks, it costs nothing. */
export async function renderMetrics(sources: MetricsSources): Promise<{ contentType: string; text: string }> {
	const { Counter, Gauge, Registry } = await import("prom-client");
	const registry = new Registry();
	for (const { name, type, help, value } of readings(sources)) {
		if (type === "counter") new Counter({ name, help, registers: [registry] }).inc(value);
		else new Gauge({ name, help, registers: [registry] }).set(value);
	}
	for (const { name, type, help, values } of [...sources.condition.readings(), ...subscriptionReadings(sources.subscriptions, sources.wallMs)]) {
		const labelNames = Object.keys(values[0]?.labels ?? {});
		const counter = type === "counter" ? new Counter({ name, help, labelNames, registers: [registry] }) : undefined;
		const gauge = type === "gauge" ? new Gauge({ name, help, labelNames, registers: [registry] }) : undefined;
		for (const { labels, value } of values) {
			counter?.inc(labels, value);
			gauge?.set(labels, value);
		}
	}
	return { contentType: registry.contentType, text: await registry.metrics() };
}

function readings({ log, publishing, refused, followers, authority, tlsFailures }: MetricsSources): Reading[] {
	const stats = log.stats();
	const { ingest, sockets, parked } = publishing;
	const counts = ingest.counts;
	const { producers, messages } = sockets.counts;
	const cpu = process.cpuUsage();
	return [
		counter("nexus_events_accepted_total", "Events made durable.", stats.appended),
		counter("nexus_events_duplicate_total", "Events that were in the log already.", stats.duplicates),
		counter("nexus_events_rejected_total", "Events that were not valid.", counts.rejectedEvents),
		counter("nexus_events_parked_total", "Events put beside the log as they violate their schema.", counts.parkedEvents),
		gauge("nexus_events_parked", "Events beside the log that wait for somebody.", parked.count),
		counter("nexus_ingest_requests_total", "Requests that brought events.", counts.requests),
		counter("nexus_ingest_overloaded_total", "Requests and messages refused because too much was in hand.", counts.overloaded),
		gauge("nexus_ingest_sockets", "Open WebSockets of producers.", producers),
		counter("nexus_ingest_socket_messages_total", "Messages that they brought.", messages),
		gauge("nexus_ingest_waiting", "Messages that wait for the log, as it has enough in hand.", publishing.publisher.lanes.waiting),
		gauge("nexus_ingest_in_flight_bytes", "Bytes of requests that are read, checked or waiting for the disk.", counts.inFlightBytes),
		counter("nexus_log_commits_total", "Group commits, each one sync or round trip.", stats.commits),
		counter("nexus_log_commit_failures_total", "Group commits that the disk or the broker refused.", stats.failures),
		gauge("nexus_log_failing", "1 while the last commit has failed.", stats.isFailing ? 1 : 0),
		gauge("nexus_log_first_sequence", "Oldest sequence that is kept.", stats.firstSequence),
		gauge("nexus_log_last_sequence", "Newest durable sequence.", stats.lastSequence),
		gauge("nexus_log_bytes", "Size of the log, in bytes, as far as its keeper tells.", stats.bytes),
		gauge("nexus_log_segments", "Files of the log; 0 where it has none of its own.", stats.segments),
		gauge("nexus_log_damaged_blocks", "Blocks found damaged on disk since start.", stats.damagedBlocks),
		gauge("nexus_followers", "Open event streams.", followers),
		counter("nexus_http_connections_refused_total", "Connections dropped at the limit.", refused?.connections ?? 0),
		counter("nexus_http_requests_refused_total", "Requests with an unexpected Host or from a web page.", refused?.requests ?? 0),
		...(authority === undefined ? [] : authorityReadings(authority, tlsFailures)),
		counter("process_cpu_seconds_total", "CPU time of the process, in seconds.", (cpu.user + cpu.system) / 1e6),
		gauge("process_resident_memory_bytes", "Memory of the process, in bytes.", process.memoryUsage.rss()),
	];
}

function authorityReadings({ counts, polls, trust }: Authority, tlsFailures: number): Reading[] {
	return [
		counter("nexus_certificates_issued_total", "Certificates issued to services.", counts.issued),
		counter("nexus_certificates_refused_total", "Requests for certificates that were refused.", counts.refused),
		gauge("nexus_trust_bundle_version", "Version of the trust bundle.", trust.now.bundle.version),
		gauge("nexus_trust_bundle_waiters", "Callers that wait for the next trust bundle.", polls.size),
		counter("nexus_tls_handshakes_failed_total", "TLS handshakes that failed.", tlsFailures),
	];
}

function counter(name: string, help: string, value: number): Reading {
	return { name, type: "counter", help, value };
}

function gauge(name: string, help: string, value: number): Reading {
	return { name, type: "gauge", help, value };
}
