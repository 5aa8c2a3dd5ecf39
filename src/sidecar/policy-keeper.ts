/** Which policy runs, and how it is replaced, by its file or by Nexus: one reload at a time, all or nothing, and each told once. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import { diffSnapshots, type SnapshotDiff } from "../policy/diff.ts";
import type { Env } from "../policy/env.ts";
import { placeText } from "../policy/explain.ts";
import type { PolicyFault } from "../policy/fault.ts";
import type { RemotePolicy } from "../policy/kept-copy.ts";
import { nexusFile } from "../policy/layers.ts";
import type { Layers } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { ReloadResult, RunningPolicy } from "./admin/view.ts";
import type { BindFault } from "./data-plane.ts";
import { bindFaults, changedNames, notReloadable } from "./reload-report.ts";
import type { EventFeed } from "./telling/event-feed.ts";

export interface PolicyKeeperOptions {
	readonly configFile: string;
	readonly env: Env;
	readonly clock: Clock;
	readonly log: Logger;
	readonly feed: Pick<EventFeed, "emit">;
	/** Makes `next` live; with faults nothing has changed. */
	readonly apply: (next: Snapshot, diff: SnapshotDiff | undefined) => Promise<readonly BindFault[]>;
	/** Whether the sidecar is ending, so that nothing is replaced any more. */
	readonly isClosing: () => boolean;
}

export class PolicyKeeper {
	readonly #options: PolicyKeeperOptions;
	#running: RunningPolicy | undefined;
	/** What Nexus has given, where the file asks for that. */
	#remote: RemotePolicy | undefined;
	/** Until then, policies replace each other, and nothing listens. */
	#isLive = false;
	#reloading: Promise<unknown> = Promise.resolve();

	constructor(options: PolicyKeeperOptions) {
		this.#options = options;
	}

	/** Throws before `begin`. */
	get running(): RunningPolicy {
		if (this.#running === undefined) throw new Error("not started");
		return this.#running;
	}

	begin(snapshot: Snapshot): void {
		const appliedAtMs = this.#options.clock.wallMs();
		this.#running = { snapshot, appliedAtMs, rejected: undefined, reloads: { applied: 0, unchanged: 0, rejected: 0 } };
	}

	/** What runs by now is made live. With faults it is not. */
	goLive(): Promise<readonly BindFault[]> {
		return this.#inTurn(async () => {
			const faults = await this.#options.apply(this.running.snapshot, undefined);
			this.#isLive = faults.length === 0;
			return faults;
		});
	}

	/** Reads the policy file again. Those asked for meanwhile follow. */
	reload(): Promise<ReloadResult> {
		return this.#inTurn(() => this.#reload(this.#remote));
	}

	/** The file with this policy of Nexus. Without faults it is in force; with some, the one before stays. */
	take(remote: RemotePolicy): Promise<readonly PolicyFault[]> {
		return this.#inTurn(async () => {
			const result = await this.#reload(remote);
			if (result.kind === "rejected") return result.faults;
			this.#remote = remote;
			const { version, tag, author, reason } = remote;
			this.#running = { ...this.running, nexus: { version, tag, author, reason, sinceMs: this.#options.clock.wallMs() } };
			return [];
		});
	}

	#inTurn<T>(act: () => Promise<T>): Promise<T> {
		const result = this.#reloading.then(act);
		// One that fails by a fault of ours must not fail all that follow.
		this.#reloading = result.catch(() => {});
		return result;
	}

	async #reload(remote: RemotePolicy | undefined): Promise<ReloadResult> {
		const { running } = this;
		const { configFile, env, clock, log, feed, apply, isClosing } = this.#options;
		const { result } = await loadPolicyFile(configFile, env, running.snapshot.version + (this.#isLive ? 1 : 0), layerOf(running.snapshot, remote));
		if (isClosing()) return { kind: "unchanged", version: running.snapshot.version, hash: running.snapshot.hash };
		if (!result.ok) return this.#reject(running, result.faults);
		const next = result.snapshot;
		const diff = diffSnapshots(running.snapshot, next);
		if (diff.empty) return this.#keep(running);
		const fixed = notReloadable(diff, next);
		if (fixed.length > 0) return this.#reject(running, fixed);
		if (!this.#isLive) {
			this.#running = { ...running, snapshot: next, appliedAtMs: clock.wallMs(), rejected: undefined };
			return { kind: "applied", version: next.version, hash: next.hash };
		}
		const faults = await apply(next, diff);
		if (faults.length > 0) return this.#reject(running, bindFaults(faults));
		const reloads = { ...running.reloads, applied: running.reloads.applied + 1 };
		this.#running = { ...running, snapshot: next, appliedAtMs: clock.wallMs(), rejected: undefined, reloads };
		const changed = changedNames(diff);
		feed.emit("nexus.mesh.policy.applied", { version: next.version, hash: next.hash, changed });
		log.info("policy applied", { version: next.version, hash: next.hash, changed });
		return { kind: "applied", version: next.version, hash: next.hash };
	}

	/** Comments or layout changed, or nothing: the running snapshot stays, and an earlier rejection is settled. */
	#keep(running: RunningPolicy): ReloadResult {
		this.#running = { ...running, rejected: undefined, reloads: { ...running.reloads, unchanged: running.reloads.unchanged + 1 } };
		return { kind: "unchanged", version: running.snapshot.version, hash: running.snapshot.hash };
	}

	/** Told once per faulty text, not once per look at it. */
	#reject(running: RunningPolicy, faults: readonly PolicyFault[]): ReloadResult {
		const { clock, log, feed } = this.#options;
		const told = running.rejected !== undefined && JSON.stringify(running.rejected.faults) === JSON.stringify(faults);
		this.#running = {
			...running,
			rejected: { atMs: clock.wallMs(), faults },
			reloads: { ...running.reloads, rejected: running.reloads.rejected + 1 },
		};
		if (!told) {
			const data = faults.map(({ place, message, hint }) => ({ place: placeText(place), message, hint }));
			feed.emit("nexus.mesh.policy.rejected", { faults: data });
			log.error("policy rejected; the last good one stays", { faults: data });
		}
		return { kind: "rejected", faults };
	}
}

function layerOf({ service, policy }: Snapshot, remote: RemotePolicy | undefined): Omit<Layers, "local"> | undefined {
	if (policy === undefined || remote === undefined) return undefined;
	return { nexus: { text: remote.text, file: nexusFile(service, remote.version) }, wins: policy.merge };
}
