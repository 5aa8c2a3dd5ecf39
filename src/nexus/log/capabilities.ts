/** What each kind of log can promise: one table that the logs, the start of Nexus and the documentation read. */

/**
 * What an acknowledgement promises to survive. `memory`: nothing but the client's own failure. `os`: the end of the process (or broker) that took
 * it, not a power cut. `disk`: a power cut, on one disk. `quorum`: a power cut and the loss of a minority of the disks.
 */
export type Durability = "memory" | "os" | "disk" | "quorum";

export type Backend = "embedded" | "memory" | "nats" | "redis" | "kafka" | "rabbitmq";

export type LogFeature =
	| "orderedByKey"
	| "dedupe"
	| "dedupeAcrossRestart"
	| "dedupeAcrossNodes"
	| "readByTime"
	| "keepsTimes"
	| "sharedByNodes"
	| "retentionByAge"
	| "retentionBySize"
	| "retentionByCount"
	| "retentionByType"
	| "compaction"
	| "truncateNow"
	| "backup"
	| "detectsDamage";

export interface Support {
	readonly has: boolean;
	/** The limit or the reason, where there is one; a phrase. */
	readonly note?: string;
}

export interface LogCapabilities {
	readonly backend: Backend;
	readonly durability: Durability;
	/** The mechanism or setting that the durability stands on; a phrase. */
	readonly durabilityBasis: string;
	readonly features: Readonly<Record<LogFeature, Support>>;
	/** The largest event that this server takes; undefined: larger than any that Nexus does. */
	readonly eventBytesMax?: number;
}

/** What a configuration asks of its log. */
export interface WantedCapabilities {
	readonly features: readonly LogFeature[];
	readonly durability?: Durability;
}

/** The weakest first. */
export const DURABILITIES = ["memory", "os", "disk", "quorum"] as const;

/** In words, in the order of the documentation. */
export const FEATURE_TITLES: Readonly<Record<LogFeature, string>> = Object.freeze({
	orderedByKey: "ordered by key",
	dedupe: "(source, id) taken once",
	dedupeAcrossRestart: "taken once across a restart",
	dedupeAcrossNodes: "taken once across nodes",
	readByTime: "read from a time",
	keepsTimes: "a copy keeps the time of receipt",
	sharedByNodes: "shared by several Nexus nodes",
	retentionByAge: "retention by age",
	retentionBySize: "retention by size",
	retentionByCount: "retention by count",
	retentionByType: "retention by type",
	compaction: "compaction by key",
	truncateNow: "truncated at once",
	backup: "backup while running",
	detectsDamage: "damage on disk detected and told",
});

/** One sentence for each thing that is wanted and not there; empty where the log will do. */
export function missingCapabilities({ features, durability }: WantedCapabilities, log: { readonly capabilities: LogCapabilities }): string[] {
	const { capabilities } = log;
	const missing: string[] = [];
	if (durability !== undefined && DURABILITIES.indexOf(capabilities.durability) < DURABILITIES.indexOf(durability)) {
		missing.push(
			`the log ${capabilities.backend} acknowledges with durability ${capabilities.durability} (${capabilities.durabilityBasis}), and ${durability} is asked for`,
		);
	}
	for (const feature of features) {
		const { has, note } = capabilities.features[feature];
		if (!has)
			missing.push(
				`the log ${capabilities.backend} cannot do what is configured: ${FEATURE_TITLES[feature]}: no${note === undefined ? "" : ` (${note})`}`,
			);
	}
	return missing;
}

/** What each backend promises as it is configured by default, in the order of the documentation. */
export const BACKENDS: Readonly<Record<Backend, LogCapabilities>> = Object.freeze({
	embedded: {
		backend: "embedded",
		durability: "disk",
		durabilityBasis: "fdatasync before the answer, one for all that waits",
		features: {
			orderedByKey: yes("one order over all events"),
			dedupe: yes("the last 1,048,576 events at least, verified"),
			dedupeAcrossRestart: yes(),
			dedupeAcrossNodes: no("a directory belongs to one process"),
			readByTime: yes("also where the clock has jumped"),
			keepsTimes: yes(),
			sharedByNodes: no("a directory belongs to one process"),
			retentionByAge: yes("whole segments"),
			retentionBySize: yes("whole segments"),
			retentionByCount: yes("whole segments, never fewer"),
			retentionByType: yes("segments are rewritten"),
			compaction: yes("segments are rewritten"),
			truncateNow: yes("whole segments"),
			backup: yes(),
			detectsDamage: yes("every byte is checked when it is read"),
		},
	},
	memory: {
		backend: "memory",
		durability: "memory",
		durabilityBasis: "nothing is kept past the process",
		features: {
			orderedByKey: yes("one order over all events"),
			dedupe: yes("all events that are kept"),
			dedupeAcrossRestart: no("nothing is kept past the process"),
			dedupeAcrossNodes: no("lives in one process"),
			readByTime: yes(),
			keepsTimes: yes(),
			sharedByNodes: no("lives in one process"),
			retentionByAge: yes(),
			retentionBySize: yes(),
			retentionByCount: yes(),
			retentionByType: no("embedded only"),
			compaction: no("embedded only"),
			truncateNow: yes(),
			backup: no("copy it to another log"),
			detectsDamage: no("nothing is on disk"),
		},
	},
	nats: {
		backend: "nats",
		durability: "os",
		durabilityBasis: "JetStream file storage; disk or quorum where the server syncs before it acknowledges (sync_interval: always)",
		features: {
			orderedByKey: yes("one stream, one order"),
			dedupe: yes("Nats-Msg-Id, within the stream's window of time, 1 hour"),
			dedupeAcrossRestart: yes(),
			dedupeAcrossNodes: yes(),
			readByTime: yes(),
			keepsTimes: no("the server stamps each message"),
			sharedByNodes: yes(),
			retentionByAge: yes(),
			retentionBySize: yes("by the average size of an event"),
			retentionByCount: yes(),
			retentionByType: no("embedded only"),
			compaction: no("embedded only"),
			truncateNow: yes(),
			backup: no("the broker's own: nats stream backup"),
			detectsDamage: no("the broker's own checksums"),
		},
	},
	redis: {
		backend: "redis",
		durability: "os",
		durabilityBasis: "appendfsync everysec; disk where the server says appendfsync always, memory where it has no append-only file",
		features: {
			orderedByKey: yes("one stream, one order"),
			dedupe: yes("the last 1,000,000 events"),
			dedupeAcrossRestart: yes("as durable as the events"),
			dedupeAcrossNodes: yes(),
			readByTime: yes(),
			keepsTimes: yes("never going backwards"),
			sharedByNodes: yes(),
			retentionByAge: yes(),
			retentionBySize: yes("by the average size of an event"),
			retentionByCount: yes(),
			retentionByType: no("embedded only"),
			compaction: no("embedded only"),
			truncateNow: yes(),
			backup: no("the broker's own: BGSAVE or its append-only file"),
			detectsDamage: no("the broker's own checks at start"),
		},
	},
	kafka: {
		backend: "kafka",
		durability: "os",
		durabilityBasis: "acks=all, page cache; disk or quorum where the topic says flush.messages=1",
		features: {
			orderedByKey: yes("one partition, one order"),
			dedupe: yes("by this node, the last 100,000 events; the producer is not trusted across restarts by Kafka itself"),
			dedupeAcrossRestart: yes("the window is read back from the topic"),
			dedupeAcrossNodes: no("two nodes that take the same event at the same moment both keep it"),
			readByTime: yes(),
			keepsTimes: yes(),
			sharedByNodes: yes(),
			retentionByAge: yes(),
			retentionBySize: no("the topic's retention.bytes does it"),
			retentionByCount: yes(),
			retentionByType: no("embedded only"),
			compaction: no("embedded only"),
			truncateNow: yes(),
			backup: no("the broker's own"),
			detectsDamage: no("the broker's own checksums"),
		},
	},
	rabbitmq: {
		backend: "rabbitmq",
		durability: "disk",
		durabilityBasis: "confirmed by a quorum queue, which syncs; the stream is made whole from it after a power cut",
		features: {
			orderedByKey: yes("one stream, one order"),
			dedupe: yes("by this node, the last 100,000 events"),
			dedupeAcrossRestart: yes("the window is read back from the stream"),
			dedupeAcrossNodes: no("two nodes that take the same event at the same moment both keep it"),
			readByTime: yes("by reading from the beginning"),
			keepsTimes: yes(),
			sharedByNodes: yes(),
			retentionByAge: yes("set when the stream is declared"),
			retentionBySize: yes("set when the stream is declared"),
			retentionByCount: no("streams know size and age"),
			retentionByType: no("embedded only"),
			compaction: no("embedded only"),
			truncateNow: no("streams are cut by their declared limits only"),
			backup: no("the broker's own"),
			detectsDamage: no("the broker's own checksums"),
		},
	},
});

function yes(note?: string): Support {
	return note === undefined ? { has: true } : { has: true, note };
}

function no(note: string): Support {
	return { has: false, note };
}
