/** The Kafka topic of a log: made where it is missing, checked, and asked what an acknowledgement means. */
import type { Admin, ClusterMetadata } from "@platformatic/kafka";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { accessFault, hintOf } from "../engines/engine-tls.ts";
import { READ_TIMEOUT_MS } from "./broker.ts";
import { BACKENDS, type LogCapabilities } from "./capabilities.ts";
import { clientsOf, type KafkaAccess } from "./kafka-access.ts";

export interface KafkaTopic extends KafkaAccess {
	/** Made where it is missing, else used as it is; must have one partition. */
	readonly topic: string;
	/** Copies of a topic that is made. */
	readonly replicas: number;
}

const LOOK_MS = 100;
const QUORUM = 3;
/** Of a batch beside its one event: its head, a key, headers. */
const AROUND_BYTES = 4 * 1024;
const PARTITION = 0;
const TOPIC_EXISTS = "TOPIC_ALREADY_EXISTS";

/** Makes the topic where it is missing, and reads from its settings what an acknowledgement means. */
export async function prepareTopic(options: KafkaTopic & { readonly clock: Clock }): Promise<LogCapabilities> {
	const { Admin, ConfigResourceTypes } = await import("@platformatic/kafka");
	const { topic, replicas, clock } = options;
	const { options: base, prepared } = clientsOf(options);
	const admin = prepared(new Admin({ clientId: "nexus-admin", ...base }));
	try {
		if (!(await admin.listTopics()).includes(topic)) {
			// Forgetting is Nexus' own decision; the broker's default would forget after a week.
			const configs = [{ name: "retention.ms", value: "-1" }];
			await admin.createTopics({ topics: [topic], partitions: 1, replicas, configs }).catch((thrown: unknown) => {
				// Another node was faster.
				if (!causeOf(thrown).includes(TOPIC_EXISTS)) throw thrown;
			});
		}
		const known = (await metadataOf(admin, topic, clock)).topics.get(topic);
		const partitions = known?.partitionsCount ?? 0;
		if (partitions !== 1) throw new Error(`the topic ${topic} has ${partitions} partitions; a log is one, for it has one order`);
		const [description] = await admin.describeConfigs({ resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }] });
		const settings = new Map(description?.configs.map(({ name, value }) => [name, value]));
		if (settings.get("cleanup.policy") !== "delete") throw new Error(`the topic ${topic} is compacted: it would forget events with the same key`);
		const capabilities = capabilitiesOf(settings, known?.partitions[PARTITION]?.replicas.length ?? 0);
		const bytesMax = Number(settings.get("max.message.bytes"));
		return Number.isSafeInteger(bytesMax) && bytesMax > 0 ? { ...capabilities, eventBytesMax: bytesMax - AROUND_BYTES } : capabilities;
	} catch (thrown) {
		const words = causeOf(thrown) + hintOf(thrown, options.tls !== undefined);
		throw new Error(`Kafka at ${options.brokers.join(", ")}: ${words}`, { cause: thrown });
	} finally {
		await admin.close();
	}
}

/** A topic that was made a moment ago is not known to every broker yet. */
async function metadataOf(admin: Admin, topic: string, clock: Clock): Promise<ClusterMetadata> {
	const untilMs = clock.monotonicMs() + READ_TIMEOUT_MS;
	for (;;) {
		try {
			return await admin.metadata({ topics: [topic], forceUpdate: true });
		} catch (thrown) {
			if (!causeOf(thrown).includes("nknown topic") || clock.monotonicMs() > untilMs) throw thrown;
		}
		await new Promise<void>((resolve) => void clock.setTimer(LOOK_MS, resolve));
	}
}

function capabilitiesOf(settings: ReadonlyMap<string, string | null | undefined>, copies: number): LogCapabilities {
	const inSync = Number(settings.get("min.insync.replicas"));
	const written = `acks=all, ${copies} ${copies === 1 ? "copy" : "copies"}, min.insync.replicas=${inSync}`;
	if (settings.get("flush.messages") !== "1") return { ...BACKENDS.kafka, durabilityBasis: `${written}, page cache` };
	const isQuorum = copies >= QUORUM && inSync > copies / 2;
	return { ...BACKENDS.kafka, durability: isQuorum ? "quorum" : "disk", durabilityBasis: `${written}, flush.messages=1` };
}

/** The client wraps what happened in "request failed"; what happened stands within. */
export function causeOf(thrown: unknown): string {
	const fault = accessFault(thrown);
	if (fault !== undefined) return fault;
	if (thrown instanceof AggregateError && thrown.errors.length > 0) return causeOf(thrown.errors[0]);
	if (!(thrown instanceof Error)) return messageOf(thrown);
	if ("apiId" in thrown && typeof thrown.apiId === "string") return `${thrown.apiId}: ${thrown.message}`;
	return thrown.cause instanceof Error ? causeOf(thrown.cause) : messageOf(thrown);
}
