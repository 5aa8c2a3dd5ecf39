/** The log that the configuration names. What a backend needs is loaded only where it is chosen. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { WantedCapabilities } from "./capabilities.ts";
import { missingCapabilities } from "./capabilities.ts";
import type { EventLog, RetentionLimits } from "./event-log.ts";
import type { KafkaTopic } from "./kafka-topic.ts";
import type { NatsStream } from "./nats-stream.ts";
import type { RabbitmqLogConfig } from "./rabbitmq-log.ts";
import type { RecoveryNote } from "./recovery.ts";
import type { RedisLogConfig } from "./redis-log.ts";

export type LogConfig =
	| { readonly backend: "embedded"; readonly dir: string }
	| { readonly backend: "memory" }
	| ({ readonly backend: "nats" } & NatsStream)
	| ({ readonly backend: "redis" } & RedisLogConfig)
	| ({ readonly backend: "kafka" } & KafkaTopic)
	| ({ readonly backend: "rabbitmq" } & RabbitmqLogConfig);

export interface OpenLogOptions {
	readonly clock: Clock;
	readonly log: Logger;
	readonly retention?: RetentionLimits;
	/** What is configured beside the log and needs something of it; the retention speaks for itself. */
	readonly wanted?: WantedCapabilities;
}

export interface OpenedLog {
	readonly log: EventLog;
	/** What an embedded log has found and mended; empty for the others. */
	readonly recovery: readonly RecoveryNote[];
}

/** Rejects with a readable error where the log cannot be had, or cannot do what is wanted of it. */
export async function openLog(config: LogConfig, options: OpenLogOptions): Promise<OpenedLog> {
	const opened = await openBackend(config, options);
	const missing = [options.wanted ?? { features: [] }, wantedByRetention(options.retention)].flatMap((wanted) =>
		missingCapabilities(wanted, opened.log),
	);
	if (missing.length === 0) return opened;
	await opened.log.close();
	throw new Error(missing.join("\n"));
}

async function openBackend(config: LogConfig, { clock, log, retention }: OpenLogOptions): Promise<OpenedLog> {
	const common = { clock, log, ...(retention && { retention }) };
	switch (config.backend) {
		case "embedded": {
			const { openEmbeddedLog } = await import("./embedded-log.ts");
			return openEmbeddedLog({ ...common, dir: config.dir });
		}
		case "memory": {
			const { openMemoryLog } = await import("./memory-log.ts");
			return { log: await openMemoryLog(common), recovery: [] };
		}
		case "nats": {
			const { openNatsLog } = await import("./nats-log.ts");
			return { log: await openNatsLog({ ...common, ...config }), recovery: [] };
		}
		case "redis": {
			const { openRedisLog } = await import("./redis-log.ts");
			return { log: await openRedisLog({ ...common, ...config }), recovery: [] };
		}
		case "kafka": {
			const { openKafkaLog } = await import("./kafka-log.ts");
			return { log: await openKafkaLog({ ...common, ...config }), recovery: [] };
		}
		case "rabbitmq": {
			const { openRabbitmqLog } = await import("./rabbitmq-log.ts");
			return { log: await openRabbitmqLog({ ...common, ...config }), recovery: [] };
		}
	}
}

/** What of a log its limits need. */
export function wantedByRetention(retention: RetentionLimits | undefined): WantedCapabilities {
	const types = retention?.types ?? [];
	return {
		features: [
			...(Number.isFinite(retention?.ageMsMax ?? Number.POSITIVE_INFINITY) ? (["retentionByAge"] as const) : []),
			...(Number.isFinite(retention?.bytesMax ?? Number.POSITIVE_INFINITY) ? (["retentionBySize"] as const) : []),
			...(retention?.eventsMax === undefined ? [] : (["retentionByCount"] as const)),
			...(types.some(({ ageMsMax, eventsMax }) => ageMsMax !== undefined || eventsMax !== undefined) ? (["retentionByType"] as const) : []),
			...(types.some(({ lastPerKey }) => lastPerKey === true) ? (["compaction"] as const) : []),
		],
	};
}
