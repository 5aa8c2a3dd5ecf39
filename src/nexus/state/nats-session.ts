/** A connection to NATS with what a state needs there: a stream that is the log of its groups, and a bucket of copies of all. */
import type { JetStreamClient, JetStreamManager } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Clock } from "../../core/clock.ts";
import { within } from "../log/broker.ts";
import { connectNats, type NatsAccess } from "../log/nats-access.ts";
import type { Durability } from "./state-store.ts";

export interface NatsOptions extends NatsAccess {
	/** Name of the stream, and of the bucket with `-copies` behind it; made where they are missing. Default `nexus-state`. */
	readonly name?: string;
	/** Copies of what is made; 1, 3 or 5. Default 1. */
	readonly replicas?: number;
	/** Base URL of the server's monitoring port: the proof that it syncs before it acknowledges. Without it nothing more than `os` is promised. */
	readonly monitor?: string;
	/** Default 10 s. */
	readonly answerTimeoutMs?: number;
}

export interface NatsSession {
	readonly connection: NatsConnection;
	readonly client: JetStreamClient;
	readonly manager: JetStreamManager;
	readonly copies: KV;
}

export const CALL_TIMEOUT_MS = 10_000;
const LAST_TRIP_MS = 1000;
const PAYLOAD_MIN = 1024 * 1024;
// https://github.com/nats-io/nats-server/blob/main/server/errors.json
const STREAM_NOT_FOUND = 10059;
const QUORUM = 3;

export function subjectOf(name: string): string {
	return `${name}.groups`;
}

/** Reconnecting is done above, where it is known what has to be read again. */
export async function connect(options: NatsOptions, lost: () => void): Promise<NatsSession> {
	const { name = "nexus-state", replicas = 1, answerTimeoutMs: timeout = CALL_TIMEOUT_MS } = options;
	const [connection, jetstream, { Kvm }] = await Promise.all([
		connectNats(options, "nexus state"),
		import("@nats-io/jetstream"),
		import("@nats-io/kv"),
	]);
	void connection.closed().then(lost);
	try {
		const payload = connection.info?.max_payload ?? 0;
		if (payload < PAYLOAD_MIN) throw new Error(`the server takes messages of ${payload} bytes; the state needs ${PAYLOAD_MIN} (max_payload)`);
		const manager = await jetstream.jetstreamManager(connection, { timeout });
		const client = jetstream.jetstream(connection, { timeout });
		await ensureStream(manager, name, replicas);
		const copies = await new Kvm(client).create(`${name}-copies`, { history: 1, replicas });
		return { connection, client, manager, copies };
	} catch (thrown) {
		await connection.close();
		throw thrown;
	}
}

/**
 * The client writes once more as it closes, and where the server has just hung up that error has no listener left and would end the process.
 * A round trip first tells which it is.
 */
export async function disconnect({ connection }: NatsSession, clock: Clock): Promise<void> {
	try {
		await within(clock, LAST_TRIP_MS, "a last round trip", Promise.race([connection.flush(), connection.closed()]));
	} catch {
		// A server that hangs or is gone: there is nothing to lose.
	}
	if (!connection.isClosed()) await connection.close();
}

/** Whether the server syncs before it acknowledges is in no answer of JetStream's API, only on its monitoring port. */
export async function durabilityOf({ monitor, replicas = 1 }: NatsOptions): Promise<Durability> {
	if (monitor === undefined) return "os";
	const response = await fetch(`${monitor}/jsz?config=true`, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
	const { config } = (await response.json()) as { config?: { sync_always?: boolean } };
	if (config?.sync_always !== true) return "os";
	return replicas >= QUORUM ? "quorum" : "disk";
}

async function ensureStream(manager: JetStreamManager, name: string, replicas: number): Promise<void> {
	const { DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } = await import("@nats-io/jetstream");
	try {
		const { config } = await manager.streams.info(name);
		const forgets = config.retention !== RetentionPolicy.Limits || config.max_age > 0 || config.max_msgs > 0 || config.discard !== DiscardPolicy.New;
		if (forgets)
			throw new Error(`the stream ${name} forgets by itself: it must have no limits of age or number, and refuse what is new when it is full`);
		return;
	} catch (thrown) {
		if (!(thrown instanceof JetStreamApiError) || thrown.apiError().err_code !== STREAM_NOT_FOUND) throw thrown;
	}
	await manager.streams.add({
		name,
		subjects: [subjectOf(name)],
		storage: StorageType.File,
		retention: RetentionPolicy.Limits,
		discard: DiscardPolicy.New,
		num_replicas: replicas,
	});
}
