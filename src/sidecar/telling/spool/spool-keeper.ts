/** The spool that is in use, as the policy says: opens its directory before anything else changes, and moves what waits when it is another one. */
import type { Clock } from "../../../core/clock.ts";
import { messageOf } from "../../../core/errors.ts";
import type { Logger } from "../../../core/log.ts";
import type { PolicyFault } from "../../../policy/fault.ts";
import type { NexusPolicy } from "../../../policy/snapshot.ts";
import type { EventDelivery } from "../event-delivery.ts";
import { EventSpool } from "../event-spool.ts";
import { moveEvents } from "./move-events.ts";
import type { SpoolDirectory } from "./spool-directory.ts";

export interface SpoolKeeperOptions {
	readonly clock: Clock;
	readonly log: Logger;
}

// A directory that is left during a reload: its last write is milliseconds away, or the disk hangs.
const LEAVE_MS = 2000;

export class SpoolKeeper {
	readonly #options: SpoolKeeperOptions;
	#spool = new EventSpool();
	#prepared: SpoolDirectory | undefined;

	constructor(options: SpoolKeeperOptions) {
		this.#options = options;
	}

	get spool(): EventSpool {
		return this.#spool;
	}

	/** Opens the directory that `nexus` asks for, if it is not in use here already. With faults nothing has changed. */
	async prepare(nexus: NexusPolicy | undefined): Promise<readonly PolicyFault[]> {
		const wanted = nexus?.spoolDirectory;
		if (wanted === undefined || wanted.dir === this.#spool.directory?.dir) return [];
		const { dir, bytesMax, place } = wanted;
		try {
			// Loaded where a directory is configured, and only there.
			const { SpoolDirectory } = await import("./spool-directory.ts");
			this.#prepared = await SpoolDirectory.open({ ...this.#options, dir, bytesMax });
			return [];
		} catch (thrown) {
			const message = `the spool directory ${dir} cannot be used: ${messageOf(thrown)}`;
			return [{ place, width: 1, path: "nexus.spool.dir", message, hint: "name a directory that this user may write to, one for each sidecar" }];
		}
	}

	/** Gives free what was prepared: the policy does not come into force. */
	async abandon(): Promise<void> {
		const prepared = this.#prepared;
		this.#prepared = undefined;
		await prepared?.close(LEAVE_MS);
	}

	/** After `prepare`. `delivery`: what takes from the spool, if anything does. Where it is the same spool, only its bounds change. */
	async apply(nexus: NexusPolicy, delivery: EventDelivery | undefined): Promise<void> {
		const wanted = nexus.spoolDirectory;
		const old = this.#spool;
		if (wanted?.dir === old.directory?.dir) {
			if (wanted !== undefined) old.directory?.setBytesMax(wanted.bytesMax);
		} else {
			const next = new EventSpool({ eventsMax: nexus.spoolEventsMax, directory: this.#prepared, losses: old.losses });
			this.#prepared = undefined;
			if (delivery === undefined) await moveEvents([], old, next);
			else await delivery.moveTo(next);
			this.#spool = next;
			await this.#leave(old, LEAVE_MS);
		}
		this.#spool.setEventsMax(nexus.spoolEventsMax);
	}

	/** Nobody delivers any more: what a directory holds waits there, what is in memory goes on waiting in memory. */
	async release(timeoutMs: number): Promise<void> {
		const old = this.#spool;
		if (old.directory === undefined) return;
		this.#spool = new EventSpool({ losses: old.losses });
		await this.#leave(old, timeoutMs);
	}

	async #leave({ directory }: EventSpool, timeoutMs: number): Promise<void> {
		if (directory === undefined) return;
		await directory.close(timeoutMs);
		const events = directory.waitingEvents;
		if (events > 0) this.#options.log.info("events wait in the spool directory until it is used again", { dir: directory.dir, events });
	}
}
