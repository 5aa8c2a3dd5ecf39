/** The JetStream stream of a log: made where it is missing, checked, and what the server says of its durability. */
import type { JetStreamManager } from "@nats-io/jetstream";
import { READ_TIMEOUT_MS } from "./broker.ts";
import { BACKENDS, type LogCapabilities } from "./capabilities.ts";
import type { NatsAccess } from "./nats-access.ts";

export interface NatsStream extends NatsAccess {
	/** Name of the stream; made where it is missing, else used as it is. */
	readonly stream: string;
	/** Copies of a stream that is made; 1, 3 or 5. */
	readonly replicas: number;
	/** Base URL of the server's monitoring port: the proof that it syncs before it acknowledges. Without it nothing more than `os` is promised. */
	readonly monitor?: string;
}

/** How long the server knows an event; it keeps the identities in memory, about 200 bytes each. */
const DUPLICATE_WINDOW_NS = 3_600_000_000_000;
// https://github.com/nats-io/nats-server/blob/main/server/errors.json
const STREAM_NOT_FOUND = 10059;
const QUORUM = 3;

/** The number of its copies. */
export async function ensureStream(manager: JetStreamManager, { stream, replicas }: NatsStream): Promise<number> {
	const { DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } = await import("@nats-io/jetstream");
	try {
		const { config } = await manager.streams.info(stream);
		if (config.retention !== RetentionPolicy.Limits)
			throw new Error(`the stream ${stream} forgets what was consumed (retention ${config.retention})`);
		return config.num_replicas;
	} catch (thrown) {
		if (!(thrown instanceof JetStreamApiError) || thrown.apiError().err_code !== STREAM_NOT_FOUND) throw thrown;
	}
	const { config } = await manager.streams.add({
		name: stream,
		subjects: [subjectOf(stream)],
		storage: StorageType.File,
		retention: RetentionPolicy.Limits,
		// Full means full: nothing that was acknowledged makes room for the next.
		discard: DiscardPolicy.New,
		num_replicas: replicas,
		duplicate_window: DUPLICATE_WINDOW_NS,
	});
	return config.num_replicas;
}

/** Whether the server syncs before it acknowledges is in no answer of JetStream's API, only on its monitoring port. */
export async function capabilitiesOf({ monitor }: NatsStream, replicas: number): Promise<LogCapabilities> {
	if (monitor === undefined) return BACKENDS.nats;
	const response = await fetch(`${monitor}/jsz?config=true`, { signal: AbortSignal.timeout(READ_TIMEOUT_MS) });
	const { config } = (await response.json()) as { config?: { sync_always?: boolean } };
	if (config?.sync_always !== true) return { ...BACKENDS.nats, durabilityBasis: "JetStream file storage, and the server says that it syncs later" };
	return { ...BACKENDS.nats, durability: replicas >= QUORUM ? "quorum" : "disk", durabilityBasis: "sync_interval: always, as the server says" };
}

export function subjectOf(stream: string): string {
	return `${stream}.events`;
}
