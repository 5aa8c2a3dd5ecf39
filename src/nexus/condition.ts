/** How log, state and the duties of this node are, for people, probes and dashboards: the whole of it, what is wrong, and the figures. */
import { statfsSync } from "node:fs";
import type { Cluster, NodeView } from "./cluster/cluster.ts";
import type { Dispatch } from "./cluster/dispatch.ts";
import { SLICES } from "./cluster/slices.ts";
import type { Engines } from "./engines/engines.ts";
import type { LabelledReading } from "./metrics.ts";
import type { SubscriptionTrouble } from "./subscriptions/metrics.ts";

export interface ConditionOptions {
	readonly engines: Pick<Engines, "log" | "state" | "nodeId" | "isShared">;
	/** Undefined: no other node can be. */
	readonly cluster: Cluster | undefined;
	readonly dispatch: Dispatch;
	readonly dataDir: string;
	readonly version: string;
	readonly startedAtMs: number;
}

interface Disk {
	readonly freeBytes: number;
	readonly totalBytes: number;
}

/** Below it a log of some use does not fit any more, and SQLite's own needs do not either. */
const DISK_LOW_BYTES = 256 * 1024 * 1024;

export class Condition {
	readonly #options: ConditionOptions;

	constructor(options: ConditionOptions) {
		this.#options = options;
	}

	/** What keeps some of it from working, by part; undefined where all is well. Knows nothing of who asks. */
	get trouble(): Readonly<Record<string, string>> | undefined {
		const { engines, dispatch } = this.#options;
		const trouble: Record<string, string> = {};
		const { isFailing, damagedBlocks } = engines.log.stats();
		if (isFailing) trouble.log = "does not take events";
		if (damagedBlocks > 0) trouble.damage = `${damagedBlocks} blocks of the log could not be read`;
		if (engines.state.stats().isFailing)
			trouble.state = "cannot be written: subscriptions and policies cannot be changed, and what is delivered may come again";
		if (dispatch.orphans > 0) trouble.dispatch = `${dispatch.orphans} of ${SLICES} parts of the subscriptions have no node that this one knows of`;
		const disk = this.#disk();
		if (disk !== undefined && disk.freeBytes < DISK_LOW_BYTES) trouble.disk = `${Math.floor(disk.freeBytes / 1024 / 1024)} MiB are free`;
		return Object.keys(trouble).length === 0 ? undefined : trouble;
	}

	/** Subscriptions of any node that do not get on. */
	get subscriptionTrouble(): SubscriptionTrouble | undefined {
		return this.#options.dispatch.trouble;
	}

	/** Answer of /v1/status. */
	async status(): Promise<Readonly<Record<string, unknown>>> {
		const { engines, cluster, dispatch, version, startedAtMs } = this.#options;
		const { log, state, nodeId, isShared } = engines;
		const { backend, durability, durabilityBasis, features } = log.capabilities;
		const { firstSequence, lastSequence, bytes, segments, pendingBytes, isFailing, damagedBlocks } = log.stats();
		const stateStats = state.stats();
		const nodes = (await cluster?.nodes()) ?? [];
		return {
			version,
			node: nodeId,
			startedAt: new Date(startedAtMs).toISOString(),
			log: {
				engine: backend,
				durability,
				basis: durabilityBasis,
				features: Object.fromEntries(Object.entries(features).map(([feature, { has }]) => [feature, has])),
				firstSequence,
				lastSequence,
				bytes,
				segments,
				pendingBytes,
				failing: isFailing,
				damagedBlocks,
			},
			state: {
				engine: state.engine,
				durability: state.capabilities.durability,
				shared: state.capabilities.isShared,
				pendingBytes: stateStats.pendingBytes,
				failing: stateStats.isFailing,
			},
			disk: this.#disk() ?? null,
			subscriptions: { ...dispatch.figures, trouble: undefined },
			shared: isShared,
			duties: Object.fromEntries((cluster?.duties ?? []).map(({ name, isMine, holder }) => [name, isMine ? nodeId : (holder ?? null)])),
			nodes: nodes.map(nodeText),
			...(this.trouble === undefined ? {} : { trouble: this.trouble }),
		};
	}

	readings(): LabelledReading[] {
		const { engines, cluster, dispatch } = this.#options;
		const { log, state } = engines;
		const stats = state.stats();
		const disk = this.#disk();
		const one = (
			name: string,
			type: "counter" | "gauge",
			help: string,
			value: number,
			labels: Readonly<Record<string, string>> = {},
		): LabelledReading => ({
			name,
			type,
			help,
			values: [{ labels, value }],
		});
		const { backend, durability } = log.capabilities;
		return [
			one("nexus_log_info", "gauge", "1, with the engine of the log and what its acknowledgements promise.", 1, { engine: backend, durability }),
			one("nexus_state_info", "gauge", "1, with the engine of the state and what its acknowledgements promise.", 1, {
				engine: state.engine,
				durability: state.capabilities.durability,
			}),
			one("nexus_log_pending_bytes", "gauge", "Bytes that wait for the log to be durable.", log.stats().pendingBytes),
			one("nexus_state_commits_total", "counter", "Commits of the state.", stats.commits),
			one("nexus_state_conflicts_total", "counter", "Commits that found something else than they expected.", stats.conflicts),
			one("nexus_state_cursors_saved_total", "counter", "Positions that were written down.", stats.cursorsSaved),
			one("nexus_state_groups_total", "counter", "Group commits, each one sync or round trip.", stats.groups),
			one("nexus_state_group_failures_total", "counter", "Group commits that failed.", stats.failedGroups),
			one("nexus_state_pending_bytes", "gauge", "Bytes that wait for the state.", stats.pendingBytes),
			one("nexus_state_failing", "gauge", "1 while the last group commit has failed.", stats.isFailing ? 1 : 0),
			one("nexus_dispatching", "gauge", "Part of the names of subscriptions that this node dispatches, 0 to 1.", dispatch.part),
			...(disk === undefined ? [] : [one("nexus_disk_free_bytes", "gauge", "Free on the disk of the data directory.", disk.freeBytes)]),
			...(cluster === undefined
				? []
				: [
						{
							name: "nexus_duty_held",
							type: "gauge" as const,
							help: "1 while a duty of one node at a time is this node's.",
							values: cluster.duties.map(({ name, isMine }) => ({ labels: { duty: name }, value: isMine ? 1 : 0 })),
						},
					]),
		];
	}

	#disk(): Disk | undefined {
		try {
			const { bavail, blocks, bsize } = statfsSync(this.#options.dataDir);
			return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
		} catch {
			// A file system that does not say, or a directory that is gone: its owner tells of that.
			return undefined;
		}
	}
}

function nodeText({ id, host, url, version, startedAtMs, seenAtMs, dispatch }: NodeView): Readonly<Record<string, unknown>> {
	const times = { startedAt: new Date(startedAtMs).toISOString(), seenAt: new Date(seenAtMs).toISOString() };
	return { id, host, url, version, ...times, slices: dispatch?.slices ?? [] };
}
